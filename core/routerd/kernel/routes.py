"""The kernel's routes of protocol 147 as a table, written in batches.

A batch is one send of many requests. The kernel works it off inside the send and answers each
request that fails; only the last one asks for an acknowledgement, which tells that all are done.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal, TypeVar

import attrs

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.kernel import route_messages as wire
from routerd.kernel.ownership import is_our_route
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.route import MAX_NEXT_HOPS, ROUTE_PROTOCOL, Route, RouteKey

BATCH = 500
"""Requests in one send: beyond it nothing is gained, and 500 refusals still fit the receive buffer."""

_DEADLINE = 10.0
_RECEIVE_BUFFER = 8 << 20
_DATAGRAM = 256 << 10
_DUMP_ATTEMPTS = 5
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_SO_RCVBUFFORCE = 33
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})
_GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})
_LATER = frozenset({errno.ENETDOWN, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.EINTR,
                    errno.EEXIST, *_UNREACHABLE, *_GONE})  # fmt: skip

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class _Order:
    """One request of a batch."""

    key: RouteKey
    route: Route | None
    mode: Literal["create", "replace", "delete"]


@attrs.frozen
class _Refusal:
    """The kernel's answer to one request; errno and its own words."""

    code: int
    text: str = ""


class RouteTable:
    """Implements `spi.Table[RouteKey, Route]` for IPv4 in every routing table.

    A route of another protocol on the same prefix, metric and table is a `NotOwnedError`. A
    replacement is one request, so that no packet finds the route missing.

    A next hop may leave its link to the kernel, which always reports one; see `agrees`.
    """

    async def observe(self) -> Mapping[RouteKey, Route]:
        """Return our routes as the kernel has them."""
        found = await _in_thread(partial(_dump, ROUTE_PROTOCOL))
        routes: dict[RouteKey, Route] = {}
        for each in found:
            if each.route is not None and is_our_route(each.protocol):
                routes.setdefault(each.key, each.route)
        return routes

    def agrees(self, desired: Route, observed: Route) -> bool:
        """Say whether `observed` is `desired` with the links filled in that were left to the kernel."""
        return _agrees(desired, observed)

    async def apply(self, changes: Sequence[Change[RouteKey, Route]]) -> Mapping[RouteKey, ProviderError]:
        """Delete, create, then replace."""
        failures: dict[RouteKey, ProviderError] = {}
        deletions: list[_Order] = []
        creations: list[_Order] = []
        replacements: dict[RouteKey, Route] = {}
        for change in changes:
            if change.after is None:
                deletions.append(_Order(key=change.key, route=None, mode="delete"))
                continue
            fault = _fault(change.key, change.after)
            if fault is not None:
                failures[change.key] = fault
                continue
            if change.before is None:
                creations.append(_Order(key=change.key, route=change.after, mode="create"))
            else:
                replacements[change.key] = change.after
        refusals = await self._send(deletions)
        failures |= {
            order.key: _error(order, refusal) for order, refusal in refusals if refusal.code not in _GONE
        }
        # A gateway must be reachable when its route is made: what names only a link goes first.
        creations.sort(key=lambda order: _has_gateway(order.route))
        again: list[_Order] = []
        for order, refusal in await self._send(creations):
            if refusal.code == errno.EEXIST and order.route is not None:
                replacements[order.key] = order.route
            elif refusal.code in _UNREACHABLE:
                again.append(order)
            else:
                failures[order.key] = _error(order, refusal)
        if replacements:
            failures |= await self._replace(replacements)
        failures |= {order.key: _error(order, refusal) for order, refusal in await self._send(again)}
        return failures

    async def _replace(self, wanted: Mapping[RouteKey, Route]) -> dict[RouteKey, ProviderError]:
        """Replace what is ours; look first, because NLM_F_REPLACE does not compare the protocol.

        The kernel replaces the first route of a prefix, metric and table, so that is the one to
        look at. Somebody who puts a route in front of ours between the look and the send would
        still lose it; nothing in rtnetlink prevents that.
        """
        standing: dict[RouteKey, wire.FoundRoute] = {}
        for each in await _in_thread(partial(_dump, 0)):
            if each.key in wanted:
                standing.setdefault(each.key, each)
        failures: dict[RouteKey, ProviderError] = {}
        orders: list[_Order] = []
        for key, route in wanted.items():
            found = standing.get(key)
            if found is None:
                orders.append(_Order(key=key, route=route, mode="create"))
            elif not is_our_route(found.protocol):
                failures[key] = _foreign(key, found.protocol)
            elif found.route is None or not _agrees(route, found.route):
                orders.append(_Order(key=key, route=route, mode="replace"))
        return failures | {order.key: _error(order, refusal) for order, refusal in await self._send(orders)}

    async def _send(self, orders: Sequence[_Order]) -> list[tuple[_Order, _Refusal]]:
        refused: list[tuple[_Order, _Refusal]] = []
        for start in range(0, len(orders), BATCH):
            # A batch that has begun is waited for even when cancelled, so that nothing is written
            # behind the back of the next `observe`.
            refused += await _in_thread(partial(_send_batch, orders[start : start + BATCH]))
        return refused


async def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread and see it to its end; it has its own deadline."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(ProviderError):
            await asyncio.wait([task])
            task.result()
        raise


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, 0))
        sock.settimeout(_DEADLINE)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            # Kernels before 4.12 and 4.20 lack them: then texts are missing, and dumps are whole.
            with suppress(OSError):
                sock.setsockopt(_SOL_NETLINK, option, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _dump(protocol: int) -> list[wire.FoundRoute]:
    """Return all routes of a protocol, 0 for all; more may come from a kernel that cannot filter."""
    try:
        for _ in range(_DUMP_ATTEMPTS):
            with _open() as sock:
                found = _dump_once(sock, protocol)
            if found is not None:
                return found
    except OSError as exc:
        raise TransientError(f"read routes: {exc}") from exc
    raise TransientError(f"read routes: the dump was interrupted {_DUMP_ATTEMPTS} times in a row")


def _dump_once(sock: socket.socket, protocol: int) -> list[wire.FoundRoute] | None:
    """Return none when the table changed while it was read (NLM_F_DUMP_INTR)."""
    names: dict[int, LinkName] = {}

    def name_of(index: int) -> LinkName:
        if index not in names:
            try:
                names[index] = LinkName(socket.if_indextoname(index))
            except OSError:
                names[index] = LinkName(f"?{index}")
        return names[index]

    sock.send(wire.dump_routes(protocol=protocol, sequence=1))
    buffer = memoryview(bytearray(_DATAGRAM))
    found: list[wire.FoundRoute] = []
    interrupted = False
    while True:
        size = sock.recv_into(buffer)
        for kind, flags, _, payload in wire.messages(buffer[:size]):
            interrupted |= bool(flags & wire.NLM_F_DUMP_INTR)
            if kind == wire.NLMSG_DONE:
                return None if interrupted else found
            if kind == wire.NLMSG_ERROR:
                code, text = wire.read_error(payload, flags)
                raise OSError(code, text or os.strerror(code))
            if kind == wire.RTM_NEWROUTE:
                route = wire.read_route(payload, name_of)
                if route is not None and protocol in {0, route.protocol}:
                    found.append(route)


def _send_batch(orders: Sequence[_Order]) -> list[tuple[_Order, _Refusal]]:
    refused: list[tuple[_Order, _Refusal]] = []
    indices: dict[LinkName, int] = {}

    def index_of(name: LinkName) -> int:
        if name not in indices:
            indices[name] = socket.if_nametoindex(name)
        return indices[name]

    requests: list[bytes] = []
    sent: list[_Order] = []
    for order in orders:
        try:
            requests.append(_pack(order, len(requests) + 1, index_of))
            sent.append(order)
        except OSError:
            refused.append((order, _Refusal(errno.ENODEV)))
    if not requests:
        return refused
    last = bytearray(requests[-1])
    length, kind, flags, sequence, port = wire.HEADER.unpack_from(last)
    wire.HEADER.pack_into(last, 0, length, kind, flags | wire.NLM_F_ACK, sequence, port)
    requests[-1] = bytes(last)
    try:
        with _open() as sock:
            sock.send(b"".join(requests))
            refused += [(sent[number - 1], refusal) for number, refusal in _answers(sock, len(requests))]
    except OSError as exc:
        # What became of these routes is not known; the next look at the kernel will tell.
        refused += [(order, _Refusal(exc.errno or errno.EAGAIN, str(exc))) for order in sent]
    return refused


def _answers(sock: socket.socket, last: int) -> Iterable[tuple[int, _Refusal]]:
    """Return the refusals by sequence number, until the last request is answered."""
    buffer = memoryview(bytearray(_DATAGRAM))
    refusals: list[tuple[int, _Refusal]] = []
    while True:
        size = sock.recv_into(buffer)
        for kind, flags, sequence, payload in wire.messages(buffer[:size]):
            if kind != wire.NLMSG_ERROR:
                continue
            code, text = wire.read_error(payload, flags)
            if code:
                refusals.append((sequence, _Refusal(code, text)))
            if sequence == last:
                return refusals


def _pack(order: _Order, sequence: int, index_of: wire.IndexOf) -> bytes:
    if order.route is None:
        return wire.delete_route(order.key, sequence=sequence)
    how = wire.NLM_F_REPLACE if order.mode == "replace" else wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return wire.new_route(
        order.key, order.route, flags=wire.NLM_F_REQUEST | how, sequence=sequence, index_of=index_of
    )


def _agrees(asked: Route, found: Route) -> bool:
    """Say whether `found` is `asked` with the links filled in that were left to the kernel."""
    if (asked.kind, asked.source) != (found.kind, found.source):
        return False
    if len(asked.next_hops) != len(found.next_hops):
        return False
    return all(
        (here.gateway, here.onlink) == (there.gateway, there.onlink) and here.link in (None, there.link)
        for here, there in zip(asked.next_hops, found.next_hops, strict=True)
    )


def _fault(key: RouteKey, route: Route) -> ProviderError | None:
    """Return why a route cannot be asked for at all, or none."""
    if route.kind == "blackhole":
        return PermanentError(f"{_name(key)}: a blackhole has no next hop") if route.next_hops else None
    if not 0 < len(route.next_hops) <= MAX_NEXT_HOPS:
        count = len(route.next_hops)
        return PermanentError(f"{_name(key)}: {count} next hops, must be 1 to {MAX_NEXT_HOPS}")
    if any(hop.gateway is None and hop.link is None for hop in route.next_hops):
        return PermanentError(f"{_name(key)}: a next hop needs a gateway or a link")
    return None


def _has_gateway(route: Route | None) -> bool:
    return route is not None and any(hop.gateway is not None for hop in route.next_hops)


def _name(key: RouteKey) -> str:
    return f"route {key.prefix}"


def _foreign(key: RouteKey, protocol: int) -> NotOwnedError:
    return NotOwnedError(
        f"{_name(key)} metric {key.metric} exists with protocol {protocol} and is not ours; "
        "delete it or choose another metric"
    )


def _error(order: _Order, refusal: _Refusal) -> ProviderError:
    name = _name(order.key)
    hops = order.route.next_hops if order.route is not None else ()
    code = refusal.code
    if code in _UNREACHABLE:
        gateways = ", ".join(str(hop.gateway) for hop in hops if hop.gateway is not None)
        noun = "next hop" if len(hops) == 1 else "one of the next hops"
        return TransientError(f"{name}: {noun} {gateways} is not reachable")
    if code in {errno.ENODEV, errno.ENETDOWN} and hops:
        links = ", ".join(str(hop.link) for hop in hops if hop.link is not None)
        return TransientError(
            f"{name}: link {links} {'is down' if code == errno.ENETDOWN else 'does not exist'}"
        )
    words = refusal.text or os.strerror(code).lower()
    text = f"{name}: {order.mode} refused by the kernel: {words} ({errno.errorcode.get(code, code)})"
    if code in _LATER:
        return TransientError(text)
    if code == errno.EOPNOTSUPP:
        return UnsupportedError(text)
    if code == errno.EPERM:
        return PermanentError(f"{text}; routerd needs CAP_NET_ADMIN")
    return PermanentError(text)
