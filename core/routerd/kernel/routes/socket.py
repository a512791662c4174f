"""The exchange with rtnetlink about routes: a dump, and requests in batches. Blocks; run it in a thread.

A batch is one send of many requests. The kernel executes it inside the send and answers each failed
request. Only the last request asks for an acknowledgement, which shows that all are done.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import attrs

from routerd.errors import TransientError
from routerd.kernel.routes import messages as wire
from routerd.kernel.routes.dump import DumpReader, Form
from routerd.model.change import Change, Verb
from routerd.model.names import LinkName
from routerd.model.route import Route, RouteKey

RouteChange = Change[RouteKey, Route]

BATCH = 2000
"""Requests in one send; more bring no speed."""

_DEADLINE = 10.0
_SEND_BUFFER = 1 << 20
_RECEIVE_BUFFER = 8 << 20
_DATAGRAM = 256 << 10
_REFUSAL = 1024
"""Maximum bytes of the receive buffer for one refusal; measured: 768."""
_DUMP_ATTEMPTS = 5
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33

_FLAGS: Mapping[Verb, int] = {
    "create": wire.NLM_F_REQUEST | wire.NLM_F_CREATE | wire.NLM_F_EXCL,
    "replace": wire.NLM_F_REQUEST | wire.NLM_F_REPLACE,
}


@attrs.frozen
class Refusal:
    """The kernel's answer to one failed request: errno and its own words."""

    change: RouteChange
    code: int
    text: str = ""


@attrs.frozen(kw_only=True)
class _Batch:
    """Requests of one send; the first has the number `first`, and each belongs to one change."""

    data: bytearray
    first: int
    changes: Sequence[RouteChange]
    lost: Sequence[RouteChange] = ()


def dump(protocol: int) -> Iterator[tuple[bytes, Form]]:
    """Return destination and form of all routes of a protocol (0 for any), in the kernel's order.

    A kernel before 4.20 returns the routes of every protocol.
    """
    try:
        for _ in range(_DUMP_ATTEMPTS):
            with open_socket() as sock:
                reader = _dump_once(sock, protocol)
            if not reader.interrupted:
                return zip(reader.destinations, reader.forms, strict=True)
    except OSError as exc:
        raise TransientError(f"read routes: {exc}") from exc
    raise TransientError(f"read routes: the dump was interrupted {_DUMP_ATTEMPTS} times in a row")


def write(changes: Sequence[RouteChange], verb: Verb, stopped: Callable[[], bool]) -> list[Refusal]:
    """Do `verb` for each change and return the refusals.

    `stopped` prevents the next batch; a batch that has begun runs to its end. Packing is a fifth of
    the work. Packing in a second thread while the kernel is busy brings no speed (measured), because
    each batch then waits for two threads to be scheduled.
    """
    if not changes:
        return []
    refused: list[Refusal] = []
    answered = 0
    try:
        with open_socket() as sock:
            for batch in _batches(changes, verb, sock):
                if stopped():
                    break
                refused += _exchange(sock, batch)
                answered += len(batch.changes) + len(batch.lost)
    except OSError as exc:
        # The state of these routes is unknown; the next reading shows it.
        refused += [Refusal(change, exc.errno or errno.EAGAIN, str(exc)) for change in changes[answered:]]
    return refused


def open_socket() -> socket.socket:
    """Return a socket for routes with its options set."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, 0))
        sock.settimeout(_DEADLINE)
        for forced, plain, size in (
            (_SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_BUFFER),
            (_SO_SNDBUFFORCE, socket.SO_SNDBUF, _SEND_BUFFER),
        ):
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, size)
            except PermissionError:
                sock.setsockopt(socket.SOL_SOCKET, plain, size)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            # Kernels before 4.12 and 4.20 lack them; then texts are missing, and dumps are complete.
            with suppress(OSError):
                sock.setsockopt(_SOL_NETLINK, option, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _dump_once(sock: socket.socket, protocol: int) -> DumpReader:
    names: dict[int, LinkName] = {}

    def name_of(index: int) -> LinkName:
        if index not in names:
            try:
                names[index] = LinkName(socket.if_indextoname(index))
            except OSError:
                names[index] = LinkName(f"?{index}")
        return names[index]

    sock.send(wire.dump_routes(protocol=protocol, sequence=1))
    reader = DumpReader(name_of)
    while not reader.read(sock.recv(_DATAGRAM)):
        pass
    if reader.error is not None:
        code, text = reader.error
        raise OSError(code, text or os.strerror(code))
    return reader


def _batches(changes: Sequence[RouteChange], verb: Verb, sock: socket.socket) -> Iterator[_Batch]:
    """Yield batches that fit the send buffer and whose refusals all fit the receive buffer."""
    packer = _Packer(verb)
    room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 32
    count = min(BATCH, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _REFUSAL)

    def fitting(part: Sequence[RouteChange]) -> Iterator[_Batch]:
        batch = packer.pack(part)
        if len(batch.data) <= room or len(part) == 1:
            yield batch
            return
        middle = len(part) // 2
        yield from fitting(part[:middle])
        yield from fitting(part[middle:])

    for start in range(0, len(changes), count):
        yield from fitting(changes[start : start + count])


class _Packer:
    """Packs one request of each form and copies it for every destination."""

    def __init__(self, verb: Verb) -> None:
        self._verb = verb
        self._sequence = 1
        self._indices: dict[LinkName, int] = {}
        self._requests: dict[tuple[Route | None, int, int, int], bytes] = {}

    def pack(self, changes: Sequence[RouteChange]) -> _Batch:
        """Return the batch of these changes, grouped by equal routes."""
        by_request: dict[bytes, list[RouteChange]] = {}
        groups: dict[tuple[int, int, int, int], list[RouteChange]] = {}
        for change in changes:
            key = change.key
            # Hashing a route costs more than everything else, and most changes share one.
            mark = id(change.after), key.prefix.prefixlen, key.metric, key.table
            group = groups.get(mark)
            if group is None:
                group = groups[mark] = by_request.setdefault(self._request(change), [])
            group.append(change)
        lost = by_request.pop(b"", [])
        first = self._sequence
        sent: list[RouteChange] = []
        data = bytearray()
        size = 0
        for request, group in by_request.items():
            destinations = [int(change.key.prefix.network_address) for change in group]
            data += wire.copies(request, destinations, first=first + len(sent))
            sent += group
            size = len(request)
        if sent:
            wire.ask_for_acknowledgement(data, len(data) - size)
        self._sequence += len(sent)
        return _Batch(data=data, first=first, changes=sent, lost=lost)

    def _request(self, change: RouteChange) -> bytes:
        """Return a request for the route; empty when its link does not exist."""
        key, route = change.key, None if self._verb == "delete" else change.after
        mark = route, key.prefix.prefixlen, key.metric, key.table
        request = self._requests.get(mark)
        if request is None:
            request = self._requests[mark] = self._new_request(key, route)
        return request

    def _new_request(self, key: RouteKey, route: Route | None) -> bytes:
        if route is None:
            return wire.delete_route(key)
        try:
            return wire.new_route(key, route, flags=_FLAGS[self._verb], index_of=self._index_of)
        except OSError:
            return b""

    def _index_of(self, name: LinkName) -> int:
        if name not in self._indices:
            self._indices[name] = socket.if_nametoindex(name)
        return self._indices[name]


def _exchange(sock: socket.socket, batch: _Batch) -> list[Refusal]:
    """Send a batch, wait for the answer to its last request, and return the refusals."""
    refusals = [Refusal(change, errno.ENODEV) for change in batch.lost]
    if not batch.changes:
        return refusals
    sock.send(batch.data)
    last = batch.first + len(batch.changes) - 1
    while True:
        for kind, flags, sequence, payload in wire.messages(memoryview(sock.recv(_DATAGRAM))):
            if kind != wire.NLMSG_ERROR:
                continue
            code, text = wire.read_error(payload, flags)
            if code:
                refusals.append(Refusal(batch.changes[sequence - batch.first], code, text))
            if sequence == last:
                return refusals
