"""The kernel's notifications that links, addresses, routes or packet filter rules have changed.

A notification only makes the loop read the kernel again, so this module reads of each one only whether
it can concern us.

What complicates this:

* A routing daemon beside us can send thousands of notifications a second. The kernel filters foreign
  routes out; simultaneous changes are one event; under a steady stream the pauses grow.
* A foreign route of one of our metrics may take the place of ours, which the kernel announces as the new
  route alone, and may leave it again. So these pass the filter.
* A stream that overflows the socket hides what changed, so an overflow counts as every kind of change.
* Our own changes come back as notifications. The reading after them must find nothing to do.
* The kernel does not announce IPv4 routes that vanish with their link or address, only the link or the
  address. Nothing announces the rules of iptables' legacy variant; the resync finds them.
"""

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from routerd.errors import ProviderError
from routerd.kernel.netlink import translate
from routerd.kernel.ownership import is_our_route
from routerd.model.route import ROUTE_PROTOCOL
from routerd.spi import Clock, Logger

SETTLE = 0.1
"""Seconds in which the notifications of one change arrive."""

PAUSE = 0.5
"""Minimum seconds between two events."""

LOOKS, REFILL = 10, 5.0
"""Number of events in quick succession, and seconds until one more is allowed."""

_AT_ONCE = 512
"""Datagrams per reading; the next reading takes the rest."""

_RECEIVE_BUFFER = 256 << 10
_DATAGRAM = 64 << 10
_NETLINK_NETFILTER = 12
_RTNLGRP_LINK, _RTNLGRP_IPV4_IFADDR, _RTNLGRP_IPV4_ROUTE = 1, 5, 7
_NFNLGRP_NFTABLES = 7
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_OF_LINKS = frozenset({16, 17, 20, 21})
"""RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR."""

_LINKS, _FOREIGN, _OTHERS = "links", "foreign routes", "others"
"""The subjects of a change."""

_TYPE_OFFSET, _PROTOCOL_OFFSET = 4, 16 + 5
"""Bytes before the type in struct nlmsghdr, and before the protocol in struct rtmsg behind it."""

_ATTRIBUTES, _RTA_PRIORITY = 28, 6
"""Bytes before the attributes of a route, and the type of that with its metric."""

_SO_ATTACH_FILTER = 26
_LOAD_HALF, _LOAD_BYTE, _JUMP_EQUAL, _RETURN = 0x28, 0x30, 0x15, 0x06
_LOAD_VALUE, _LOAD_X_VALUE, _LOAD_WORD, _LOAD_AT_X, _TO_X = 0x00, 0x01, 0x20, 0x40, 0x07
_FIND_ATTRIBUTE = 0xFFFFF000 + 12
"""SKF_AD_OFF + SKF_AD_NLATTR: the place of attribute X behind the offset in A, or 0."""


class KernelEvents:
    """Calls `on_event` soon after a change that can concern us; `run` never ends.

    If links or addresses have changed, it calls `on_links` first, and `on_foreign` if a foreign route has
    come or gone that has one of `metrics`, those of our routes.
    """

    def __init__(
        self,
        on_event: Callable[[], None],
        *,
        clock: Clock,
        log: Logger,
        listen: Callable[[Logger], Sequence[socket.socket]] | None = None,
        on_links: Callable[[], None] = lambda: None,
        on_foreign: Callable[[], None] = lambda: None,
        metrics: Callable[[], frozenset[int]] = frozenset,
    ) -> None:
        self._on_event = on_event
        self._on_links = on_links
        self._on_foreign = on_foreign
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._listen = listen or open_sockets

    async def run(self) -> None:
        """Listen until cancelled; `ProviderError` when the kernel does not let us."""
        sockets = self._listen(self._log)
        try:
            # The kernel may have changed before we listened.
            self._on_event()
            await self._follow(sockets)
        finally:
            for each in sockets:
                each.close()

    async def _follow(self, sockets: Sequence[socket.socket]) -> None:
        looks, counted = float(LOOKS), self._clock.monotonic()
        metrics = self._metrics()
        _attach_filter(sockets[0], metrics)
        while True:
            await _readable(sockets)
            found = _drain(sockets, metrics)
            await self._clock.sleep(SETTLE)
            if not found:
                continue
            found |= _drain(sockets, metrics)
            if _LINKS in found:
                self._on_links()
            if _FOREIGN in found:
                self._on_foreign()
            if metrics != (metrics := self._metrics()):
                _attach_filter(sockets[0], metrics)
            self._on_event()
            now = self._clock.monotonic()
            looks = min(float(LOOKS), looks + (now - counted) / REFILL) - 1
            counted = now
            # Nothing is read during this pause, so a stream costs no more than its events.
            await self._clock.sleep(max(PAUSE, (1 - looks) * REFILL))


def open_sockets(log: Logger) -> list[socket.socket]:
    """Return sockets for notifications; without the one of nftables only the resync sees its drift."""
    groups = (_RTNLGRP_LINK, _RTNLGRP_IPV4_IFADDR, _RTNLGRP_IPV4_ROUTE)
    try:
        sockets = [_subscribed(socket.NETLINK_ROUTE, groups)]
    except OSError as error:
        raise translate("listen to rtnetlink", error.errno or 0) from error
    try:
        sockets.append(_subscribed(_NETLINK_NETFILTER, (_NFNLGRP_NFTABLES,)))
    except OSError as error:
        fault: ProviderError = translate("listen to nftables", error.errno or 0)
        log.info("kernel.events.partial", error=str(fault))
    return sockets


def _subscribed(family: int, groups: Sequence[int]) -> socket.socket:
    made = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, family
    )
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        made.bind((0, sum(1 << (group - 1) for group in groups)))
    except BaseException:
        made.close()
        raise
    return made


def _attach_filter(sock: socket.socket, metrics: frozenset[int]) -> None:
    """Make the kernel drop notifications of foreign routes: a routing daemon's churn then costs nothing.

    Without such a filter `_subject` drops the same messages, at a higher cost.
    """
    # BPF loads are big-endian, and the header is in the order of the host: hence htons and htonl.
    ours = [(_LOAD_BYTE, 0, 0, _PROTOCOL_OFFSET), (_JUMP_EQUAL, _ACCEPT, 0, ROUTE_PROTOCOL)]
    metric = [
        (_LOAD_VALUE, 0, 0, _ATTRIBUTES),
        (_LOAD_X_VALUE, 0, 0, _RTA_PRIORITY),
        (_LOAD_WORD, 0, 0, _FIND_ATTRIBUTE),
        (_JUMP_EQUAL, _ACCEPT if 0 in metrics else _DROP, 0, 0),
        (_TO_X, 0, 0, 0),
        (_LOAD_AT_X, 0, 0, 4),
        *((_JUMP_EQUAL, _ACCEPT, 0, socket.htonl(each)) for each in sorted(metrics)[:_MOST_METRICS]),
    ]
    steps = [
        (_LOAD_HALF, 0, 0, _TYPE_OFFSET),
        (_JUMP_EQUAL, 1, 0, socket.htons(_RTM_NEWROUTE)),
        (_JUMP_EQUAL, 0, _ACCEPT, socket.htons(_RTM_DELROUTE)),
        *ours,
        *metric,
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, 0xFFFFFFFF),
    ]
    ends = {_DROP: len(steps) - 2, _ACCEPT: len(steps) - 1}
    program = [
        (code, *(ends[to] - at - 1 if to in ends else to for to in (yes, no)), value)
        for at, (code, yes, no, value) in enumerate(steps)
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    descriptor = struct.pack("HP", len(program), ctypes.addressof(code))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, descriptor)


_DROP, _ACCEPT = -1, -2
"""Ends of the filter, as targets of its jumps."""

_MOST_METRICS = 64
"""A jump of BPF reaches 255 steps; a file with more metrics of static routes has the resync for the rest."""


def _drain(sockets: Sequence[socket.socket], metrics: frozenset[int]) -> set[str]:
    """Read the sockets; return the subjects of changes that can concern us."""
    found: set[str] = set()
    for each in sockets:
        for _ in range(_AT_ONCE):
            try:
                data = each.recv(_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise translate("listen to the kernel", error.errno or 0) from error
                # The socket lost notifications, so everything may have changed.
                found |= {_LINKS, _FOREIGN, _OTHERS}
                continue
            if (subject := _subject(each, data, metrics)) is not None:
                found.add(subject)
    return found


def _subject(sock: socket.socket, data: bytes, metrics: frozenset[int]) -> str | None:
    """Return what a message is about, none when it cannot concern us."""
    if getattr(sock, "proto", 0) == _NETLINK_NETFILTER or len(data) <= _PROTOCOL_OFFSET:
        return _OTHERS
    (kind,) = struct.unpack_from("=H", data, _TYPE_OFFSET)
    if kind in _OF_LINKS:
        return _LINKS
    if kind not in {_RTM_NEWROUTE, _RTM_DELROUTE} or is_our_route(data[_PROTOCOL_OFFSET]):
        return _OTHERS
    return _FOREIGN if _metric(data) in metrics else None


def _metric(data: bytes) -> int:
    """Return the metric of a route in a message; 0 without one."""
    at = _ATTRIBUTES
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        if kind == _RTA_PRIORITY and at + 8 <= len(data):
            return int(struct.unpack_from("=I", data, at + 4)[0])
        at += (length + 3) & ~3
    return 0


async def _readable(sockets: Sequence[socket.socket]) -> None:
    """Wait until one of the sockets has something to read."""
    ready = asyncio.Event()
    with _watched(sockets, ready.set):
        await ready.wait()


@contextmanager
def _watched(sockets: Sequence[socket.socket], call: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    try:
        for each in sockets:
            loop.add_reader(each, call)
        yield
    finally:
        for each in sockets:
            loop.remove_reader(each)
