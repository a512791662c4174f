"""The relay, the process of the userspace tunnels: its conversation with the daemon, and its event loop.

One relay runs all tunnels of one mode. It takes requests over a Unix socket, one JSON object a line,
outlives the daemon, and ends with its last tunnel. It imports only little of the standard library, so
that it starts quickly and stays small.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import sys
import time

from routerd_transport_ipip.carrier import Carrier, DeviceGone
from routerd_transport_ipip.listener import Listener

VERSION = 1
"""Version of the conversation. `hello`, `stop` and the names in `list` are the same in every version."""

IDLE_SECONDS = 30.0
"""Seconds that a relay waits for its first tunnel."""

PATH_SECONDS = 5.0
"""Seconds between two checks of the socket's path."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    # The real one costs a megabyte in a process that should stay small.
    from collections.abc import Callable
    from typing import Any

    from routerd_transport_ipip.carrier import Wire

    Request = dict[str, Any]  # Any: JSON


class Relay:
    """All tunnels of one mode, and the conversation with the daemon."""

    def __init__(self, mode: str, listener: Listener) -> None:
        self._mode = mode
        self._listener = listener
        self._epoll = select.epoll()
        self._carriers: dict[str, Carrier] = {}
        self._work: dict[int, Callable[[], None]] = {}
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._errors = _error_sender()
        self._leaving = False
        self._watch(listener.socket.fileno(), self._accept)

    def run(self) -> None:
        """Work until the last tunnel is removed, or no first one comes in time."""
        idle_until = time.monotonic() + IDLE_SECONDS
        look_at = time.monotonic() + PATH_SECONDS
        while not self._leaving:
            for descriptor, _ in self._epoll.poll(PATH_SECONDS):
                work = self._work.get(descriptor)
                if work is not None:
                    self._run(work)
            now = time.monotonic()
            if now >= look_at:
                look_at = now + PATH_SECONDS
                self._look_after_the_path()
            if not self._carriers and now >= idle_until:
                self._leave()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except DeviceGone:
            for name in [name for name, carrier in self._carriers.items() if not carrier.has_its_device()]:
                self._remove(name)
            # The end of the conversation makes the daemon read its tunnels again.
            for descriptor in list(self._clients):
                self._hang_up(descriptor)

    def _watch(self, descriptor: int, work: Callable[[], None]) -> None:
        self._work[descriptor] = work
        self._epoll.register(descriptor, select.EPOLLIN)

    def _forget(self, descriptor: int) -> None:
        self._work.pop(descriptor, None)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(descriptor)

    def _look_after_the_path(self) -> None:
        if self._listener.is_replaced():
            self._leave()
        elif self._listener.is_lost():
            before = self._listener.socket.fileno()
            with contextlib.suppress(OSError):
                self._listener.renew()
                self._forget(before)
                self._watch(self._listener.socket.fileno(), self._accept)

    def _leave(self) -> None:
        """End; remove the path first, so that a client that gets the answer finds no listener."""
        if self._leaving:
            return
        self._leaving = True
        self._forget(self._listener.socket.fileno())
        self._listener.close()

    # --- the conversation --------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            client = self._listener.accept()
        except OSError:
            return
        self._clients[client.fileno()] = (client, bytearray())
        self._watch(client.fileno(), lambda: self._hear(client))

    def _hang_up(self, descriptor: int) -> None:
        client, _ = self._clients.pop(descriptor)
        self._forget(descriptor)
        client.close()

    def _hear(self, client: socket.socket) -> None:
        descriptor = client.fileno()
        buffer = self._clients[descriptor][1]
        try:
            read = client.recv(65536)
            if not read:
                raise ConnectionError
            buffer += read
            while b"\n" in buffer:
                line, _, rest = buffer.partition(b"\n")
                buffer[:] = rest
                client.sendall(json.dumps(self._answer(line)).encode() + b"\n")
        except OSError:
            self._hang_up(descriptor)

    def _answer(self, line: bytes | bytearray) -> Request:
        try:
            return {"result": self._do(json.loads(line))}
        except OSError as error:
            return {"error": error.strerror or str(error), "errno": error.errno or 0}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"bad request: {error!r}", "errno": errno.EINVAL}

    def _do(self, request: Request) -> object:
        verb = request["do"]
        if verb == "hello":
            return {"version": VERSION, "mode": self._mode, "pid": os.getpid()}
        if verb == "list":
            return [
                dict(zip(_FIELDS, (each.name, *each.wire), strict=True)) for each in self._carriers.values()
            ]
        if verb == "add":
            return self._add(request)
        if verb == "remove":
            self._remove(request["name"])
            return len(self._carriers)
        if verb == "stop":
            for carrier in list(self._carriers.values()):
                self._detach(carrier)
            self._leave()
            return 0
        raise ValueError(f"unknown verb {verb}")

    def _add(self, request: Request) -> int:
        name = str(request["name"])
        local, remote = str(request["local"]), str(request["remote"])
        ports = int(request["sport"]), int(request["dport"])
        key = request.get("key")
        if key is not None and not 0 <= key < 1 << 32:
            raise ValueError(f"key {key}")
        wire = (local, remote, int(request["ttl"]), *ports, key)
        for other in self._carriers.values():
            if other.name != name and _ends(other.wire) == _ends(wire):
                raise FileExistsError(errno.EEXIST, f"tunnel {other.name} has the same two ends")
        present = self._carriers.get(name)
        if present is not None and not present.has_its_device():
            self._detach(present)
            present = None
        if present is not None:
            before = present.socket.fileno()
            self._forget(before)
            try:
                present.reconnect(wire)
            finally:
                self._watch(present.socket.fileno(), present.back)
        else:
            made = Carrier(self._mode, name, wire, self._errors)
            self._carriers[name] = made
            self._watch(made.device, made.out)
            self._watch(made.socket.fileno(), made.back)
        self._tell_apart()
        return len(self._carriers)

    def _remove(self, name: str) -> None:
        carrier = self._carriers.get(name)
        if carrier is not None:
            self._detach(carrier)
            self._tell_apart()
        if not self._carriers:
            self._leave()

    def _tell_apart(self) -> None:
        """Filter the packets of other tunnels between the same ends, which differ only in their keys."""
        if self._mode != "gre":
            return
        keys: dict[tuple[str, str], set[int | None]] = {}
        for carrier in self._carriers.values():
            keys.setdefault(carrier.wire[:2], set()).add(carrier.wire[-1])
        for carrier in self._carriers.values():
            carrier.leave(frozenset(keys[carrier.wire[:2]] - {carrier.wire[-1]}))

    def _detach(self, carrier: Carrier) -> None:
        del self._carriers[carrier.name]
        self._forget(carrier.device)
        self._forget(carrier.socket.fileno())
        carrier.close()


_FIELDS = ("name", "local", "remote", "ttl", "sport", "dport", "key")


def _ends(wire: Wire) -> tuple[object, ...]:
    """Return the identity of a tunnel on the wire: everything but its TTL."""
    return wire[:2] + wire[3:]


def _error_sender() -> socket.socket | None:
    """Return a socket that sends whole packets and receives none; `None` without CAP_NET_RAW."""
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError:
        return None


def main() -> None:
    """Listen on the socket `argv[2]`, print `ready`, and be the relay of mode `argv[1]`.

    The first process ends when the second one listens, so that the daemon need not wait for it.
    Standard error stays open, for a traceback.
    """
    mode, path = sys.argv[1:3]
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        said = os.read(read_end, 256)
        os.write(1, said or b"it ended at once")
        os._exit(0 if said == b"ready" else 1)
    os.close(read_end)
    os.setsid()
    os.chdir("/")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        listener = Listener(path)
    except OSError as error:
        os.write(write_end, f"{path}: {error.strerror or error}".encode())
        os._exit(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    os.write(write_end, b"ready")
    os.close(write_end)
    Relay(mode, listener).run()
