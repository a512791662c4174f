"""The process that is the userspace tunnels: TUN devices on one side, sockets on the other.

One process runs all tunnels of one mode. It is told what to do over a Unix socket, one JSON object
a line, outlives whoever told it, and ends with its last tunnel. It imports nothing but the
standard library, so that it starts in an instant and stays small.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from routerd_transport_ipip import packets

VERSION = 1
PROTOCOL_IPIP = 4
IDLE_SECONDS = 30.0
"""How long a process without a tunnel waits for its first one."""

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_BURST = 64
"""Packets taken from one side before the others get their turn."""

_LARGEST = 65535
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_PROBE = 3
_IP_RECVTOS = 13
_SO_NO_CHECK = 11
_BUFFER = 4 << 20
_TOS_OF_PACKET = (socket.IPPROTO_IP, socket.IP_TOS)

Request = dict[str, Any]  # Any: JSON


class Tunnel:
    """One tunnel: a TUN device and a socket that sends to, and hears from, its far end only."""

    def __init__(self, mode: str, request: Request) -> None:
        self.name = str(request["name"])
        self.description = {key: request[key] for key in ("name", "local", "remote", "ttl", "sport", "dport")}
        self._udp = mode == "fou"
        self._local = socket.inet_aton(request["local"])
        self._remote = socket.inet_aton(request["remote"])
        self._ttl = int(request["ttl"])
        with contextlib.ExitStack() as undo:
            self.socket = self._open_socket(request)
            undo.callback(self.socket.close)
            self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            undo.callback(os.close, self.tun)
            wanted = struct.pack("16sH22x", self.name.encode(), _IFF_TUN | _IFF_NO_PI)
            fcntl.ioctl(self.tun, _TUNSETIFF, wanted)
            undo.pop_all()

    def _open_socket(self, request: Request) -> socket.socket:
        if self._udp:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            # Tunnels to several far ends share the local port; the kernel finds the connected one.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
            made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
            made.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self._ttl)
            ends = (request["local"], int(request["sport"])), (request["remote"], int(request["dport"]))
        else:
            made = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL_IPIP)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
            ends = (request["local"], 0), (request["remote"], 0)
        try:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                made.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
            made.setblocking(False)
            made.bind(ends[0])
            made.connect(ends[1])
        except OSError:
            made.close()
            raise
        return made

    def out(self) -> None:
        """Carry packets from the device to the far end."""
        for _ in range(_BURST):
            try:
                inner = os.read(self.tun, _LARGEST)
            except OSError:
                return
            if inner[0] >> 4 != 4:
                continue
            # What the underlay cannot take is lost, as everywhere in IP.
            with contextlib.suppress(OSError):
                self._send(inner)

    def _send(self, inner: bytes) -> None:
        if not self._udp:
            header = packets.outer_header(inner, local=self._local, remote=self._remote, ttl=self._ttl)
            self.socket.send(header + inner)
        elif ecn := packets.outer_ecn(inner[1]):
            tos = [(socket.IPPROTO_IP, socket.IP_TOS, struct.pack("i", ecn))]
            self.socket.sendmsg([inner], tos)
        else:
            self.socket.send(inner)

    def back(self) -> None:
        """Carry packets from the far end to the device."""
        for _ in range(_BURST):
            try:
                inner = self._receive()
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error that belongs to something sent before; it says nothing about this packet.
                continue
            if inner is not None:
                with contextlib.suppress(OSError):
                    os.write(self.tun, inner)

    def _receive(self) -> bytes | None:
        if not self._udp:
            return packets.unwrap(self.socket.recv(_LARGEST))
        inner, extra, _, _ = self.socket.recvmsg(_LARGEST, 64)
        tos = [data[0] for level, kind, data in extra if (level, kind) == _TOS_OF_PACKET]
        return packets.received(inner, tos[0] if tos else 0)

    def close(self) -> None:
        """Let go of both sides; the device goes with its descriptor."""
        os.close(self.tun)
        self.socket.close()


class Relay:
    """All tunnels of one mode, and the conversation with the daemon."""

    def __init__(self, mode: str, listener: socket.socket) -> None:
        self._mode = mode
        self._listener = listener
        self._epoll = select.epoll()
        self._tunnels: dict[str, Tunnel] = {}
        self._work: dict[int, Any] = {}  # Any: callables without arguments
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._watch(listener.fileno(), self._accept)

    def run(self) -> None:
        """Work until the last tunnel has been removed, or none was wanted in time."""
        had_one = False
        began = time.monotonic()
        while True:
            for descriptor, _ in self._epoll.poll(-1 if self._tunnels else 1.0):
                work = self._work.get(descriptor)
                if work is not None:
                    work()
            had_one = had_one or bool(self._tunnels)
            if not self._tunnels and (had_one or time.monotonic() - began > IDLE_SECONDS):
                return

    def _watch(self, descriptor: int, work: Any) -> None:  # noqa: ANN401 - as in _work
        self._work[descriptor] = work
        self._epoll.register(descriptor, select.EPOLLIN)

    def _forget(self, descriptor: int) -> None:
        self._work.pop(descriptor, None)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(descriptor)

    # --- the conversation --------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.settimeout(1.0)
        self._clients[client.fileno()] = (client, bytearray())
        self._watch(client.fileno(), lambda: self._hear(client))

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
            self._forget(descriptor)
            del self._clients[descriptor]
            client.close()

    def _answer(self, line: bytes | bytearray) -> Request:
        try:
            request = json.loads(line)
            return {"result": self._do(request)}
        except OSError as error:
            return {"error": error.strerror or str(error), "errno": error.errno or 0}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"bad request: {error!r}", "errno": 22}

    def _do(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        verb = request["do"]
        if verb == "hello":
            return {"version": VERSION, "mode": self._mode}
        if verb == "list":
            return [tunnel.description for tunnel in self._tunnels.values()]
        if verb == "remove":
            self._remove(request["name"])
            return True
        if verb == "add":
            # Made first: when it fails, what was there before stays.
            self._remove(request["name"])
            made = Tunnel(self._mode, request)
            self._tunnels[made.name] = made
            self._watch(made.tun, made.out)
            self._watch(made.socket.fileno(), made.back)
            return True
        if verb == "stop":
            raise SystemExit(0)
        raise ValueError(f"unknown verb {verb}")

    def _remove(self, name: str) -> None:
        tunnel = self._tunnels.pop(name, None)
        if tunnel is not None:
            self._forget(tunnel.tun)
            self._forget(tunnel.socket.fileno())
            tunnel.close()


def main() -> None:
    """Listen on the socket `argv[2]`, say so, and be the relay of mode `argv[1]`.

    The first process ends when the second one listens, so that nobody has to wait for it.
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
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        listener = _listen(path)
    except OSError as error:
        os.write(write_end, f"{path}: {error.strerror}".encode())
        os._exit(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.write(write_end, b"ready")
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(write_end)
    try:
        Relay(mode, listener).run()
    finally:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _listen(path: str) -> socket.socket:
    """Listen on a path that only we may open; one on which nobody listens any more is taken over."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(4)
    return listener
