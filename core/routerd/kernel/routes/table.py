"""The kernel's routes of protocol 147 as a table."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import attrs

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.kernel.ownership import is_our_route
from routerd.kernel.routes import socket as route_socket
from routerd.kernel.routes.dump import Form, identity
from routerd.kernel.routes.lookup import lookup
from routerd.kernel.routes.socket import Refusal, RouteChange
from routerd.model.change import Verb
from routerd.model.route import MAX_NEXT_HOPS, ROUTE_PROTOCOL, NextHop, Route, RouteKey

_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})
_GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})
_LATER = frozenset({errno.ENETDOWN, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.EINTR,
                    errno.EEXIST, *_UNREACHABLE, *_GONE})  # fmt: skip

T = TypeVar("T")
Stopped = Callable[[], bool]


class _NextHopError(TransientError):
    """A route was refused for one of its next hops."""


class RouteTable:
    """Implements `spi.Table[RouteKey, Route]` for IPv4 in every routing table.

    A route of another protocol on the same prefix, metric and table is a `NotOwnedError`. A
    replacement is one request, so that no packet finds the route missing.

    A route some of whose next hops cannot be reached is made with the others, and is an error all the
    same: the kernel takes all of them or none, and a link that goes takes whole routes with it.

    A next hop may leave its link to the kernel, which always reports one; see `agrees`.
    """

    def __init__(self) -> None:
        self._keys: dict[bytes, RouteKey] = {}
        """Keys of the last observation by identity: to make one costs more than to read its route."""
        self._written: list[RouteChange] = []
        """Changes since then; a key that is asked for will be observed."""
        self._compared: dict[tuple[int, int], tuple[Route, Route, bool]] = {}
        """What was compared since then: pairs of few objects, asked about once for each prefix."""

    async def observe(self) -> Mapping[RouteKey, Route]:
        """Return our routes as the kernel has them."""
        return await _in_thread(self._observe)

    def agrees(self, desired: Route, observed: Route) -> bool:
        """Say whether `observed` is `desired` with the links filled in that were left to the kernel."""
        pair = id(desired), id(observed)
        known = self._compared.get(pair)
        if known is None:
            # The entry keeps both alive, so no other object gets their numbers.
            known = self._compared[pair] = desired, observed, _agrees(desired, observed)
        return known[2]

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[RouteKey, ProviderError]:
        """Delete, create, then replace."""
        self._written += changes
        failures = await _in_thread(partial(_apply, changes))
        return failures | await _with_the_others(changes, failures)

    def _observe(self, _: Stopped) -> dict[RouteKey, Route]:
        written, self._written = self._written, []
        known = self._keys | {identity(change.key): change.key for change in written}
        keys: dict[bytes, RouteKey] = {}
        routes: dict[RouteKey, Route] = {}
        for destination, form in route_socket.dump(ROUTE_PROTOCOL):
            if form.route is None or not is_our_route(form.protocol):
                continue
            name = destination + form.place
            if name not in keys:
                key = keys[name] = known.get(name) or form.key(destination)
                routes[key] = form.route
        self._keys = keys
        self._compared = {}
        return routes


def _apply(changes: Sequence[RouteChange], stopped: Stopped) -> dict[RouteKey, ProviderError]:
    failures: dict[RouteKey, ProviderError] = {}
    # Few routes are asked for at many prefixes, so they are looked at once each.
    routes = {id(change.after): change.after for change in changes if change.after is not None}
    faulty = {name: fault for name, route in routes.items() if (fault := _fault(route)) is not None}
    if faulty:
        failures = {
            change.key: PermanentError(f"{_name(change.key)}: {faulty[id(change.after)]}")
            for change in changes
            if id(change.after) in faulty
        }
        changes = [change for change in changes if change.key not in failures]
    deletions = [change for change in changes if change.after is None]
    creations = [change for change in changes if change.before is None]
    replacements = [change for change in changes if change.before is not None and change.after is not None]
    for refusal in route_socket.write(deletions, "delete", stopped):
        if refusal.code not in _GONE:
            failures[refusal.change.key] = _error(refusal, "delete")
    # A gateway must be reachable when its route is made: what names only a link goes first.
    direct = {name for name, route in routes.items() if not _has_gateway(route)}
    if direct:
        creations.sort(key=lambda change: id(change.after) not in direct)
    again: list[RouteChange] = []
    for refusal in route_socket.write(creations, "create", stopped):
        if refusal.code == errno.EEXIST:
            replacements.append(refusal.change)
        elif refusal.code in _UNREACHABLE:
            again.append(refusal.change)
        else:
            failures[refusal.change.key] = _error(refusal, "create")
    if replacements and not stopped():
        failures |= _replace(replacements, stopped)
    failures |= _written(again, "create", stopped)
    return failures


def _replace(changes: Sequence[RouteChange], stopped: Stopped) -> dict[RouteKey, ProviderError]:
    """Replace what is ours; look first, because NLM_F_REPLACE does not compare the protocol.

    The kernel replaces the first route of a prefix, metric and table, so that is the one to
    look at. Somebody who puts a route in front of ours between the look and the send would
    still lose it; nothing in rtnetlink prevents that.
    """
    wanted = {identity(change.key): change for change in changes}
    standing: dict[bytes, Form] = {}
    for destination, form in route_socket.dump(0):
        name = destination + form.place
        if name in wanted:
            standing.setdefault(name, form)
    failures: dict[RouteKey, ProviderError] = {}
    absent: list[RouteChange] = []
    others: list[RouteChange] = []
    settled: dict[tuple[int, int], bool] = {}
    for name, change in wanted.items():
        found = standing.get(name)
        if found is None:
            absent.append(change)
        elif not is_our_route(found.protocol):
            failures[change.key] = _foreign(change.key, found.protocol)
        else:
            pair = id(change.after), id(found)
            if pair not in settled:
                settled[pair] = found.route is not None and _agrees(change.desired, found.route)
            if not settled[pair]:
                others.append(change)
    return failures | _written(absent, "create", stopped) | _written(others, "replace", stopped)


async def _with_the_others(
    changes: Sequence[RouteChange], failures: Mapping[RouteKey, ProviderError]
) -> dict[RouteKey, ProviderError]:
    """Make routes without the next hops for which the kernel refused them; return what to say of it."""
    refused = [
        (change, change.after)
        for change in changes
        if change.after is not None
        and len(change.after.next_hops) > 1
        and isinstance(failures.get(change.key), _NextHopError)
    ]
    hops = {hop for _, route in refused for hop in route.next_hops}
    good = {hop for hop in hops if await _reachable(hop)}
    # Many prefixes share a route, and what is packed and compared once must stay one object.
    smaller = {id(route): _only(route, good) for _, route in refused}
    partly = [
        attrs.evolve(change, after=smaller[id(route)]) for change, route in refused if smaller[id(route)]
    ]
    if not partly:
        return {}
    failed = await _in_thread(partial(_replace, partly))
    said = {
        id(route): ", ".join(_hop_name(hop) for hop in route.next_hops if hop not in good)
        for _, route in refused
    }
    return {
        change.key: failed.get(change.key)
        or _NextHopError(
            f"{_name(change.key)}: {said[id(route)]} is not reachable; its other next hops serve"
        )
        for change, route in refused
        if smaller[id(route)]
    }


def _only(route: Route, good: set[NextHop]) -> Route | None:
    hops = tuple(hop for hop in route.next_hops if hop in good)
    return attrs.evolve(route, next_hops=hops) if 0 < len(hops) < len(route.next_hops) else None


async def _reachable(hop: NextHop) -> bool:
    """Say whether the kernel takes a next hop: its gateway must be a neighbour on a link that is up."""
    if hop.gateway is None or hop.onlink:
        return hop.link is not None and any(name == hop.link for _, name in socket.if_nameindex())
    try:
        answer = await lookup(hop.gateway)
    except ProviderError:
        return False
    links = {each.link for each in answer.next_hops if each.gateway is None}
    return answer.kind == "unicast" and bool(links) and hop.link in (None, *links)


def _written(changes: Sequence[RouteChange], verb: Verb, stopped: Stopped) -> dict[RouteKey, ProviderError]:
    return {
        refusal.change.key: _error(refusal, verb) for refusal in route_socket.write(changes, verb, stopped)
    }


async def _in_thread(work: Callable[[Stopped], T]) -> T:
    """Run `work` in a thread; when cancelled, tell it to stop and wait until it has.

    So nothing is written behind the back of the next `observe`. The work has deadlines of its own.
    """
    stop = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop.is_set))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        with suppress(ProviderError):
            await asyncio.wait([task])
            task.result()
        raise


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


def _fault(route: Route) -> str | None:
    """Return why a route cannot be asked for at all, or none."""
    if route.kind == "blackhole":
        return "a blackhole has no next hop" if route.next_hops else None
    if not 0 < len(route.next_hops) <= MAX_NEXT_HOPS:
        return f"{len(route.next_hops)} next hops, must be 1 to {MAX_NEXT_HOPS}"
    if any(hop.gateway is None and hop.link is None for hop in route.next_hops):
        return "a next hop needs a gateway or a link"
    return None


def _hop_name(hop: NextHop) -> str:
    return f"next hop {hop.gateway}" if hop.gateway is not None else f"link {hop.link}"


def _has_gateway(route: Route) -> bool:
    return any(hop.gateway is not None for hop in route.next_hops)


def _name(key: RouteKey) -> str:
    return f"route {key.prefix}"


def _foreign(key: RouteKey, protocol: int) -> NotOwnedError:
    return NotOwnedError(
        f"{_name(key)} metric {key.metric} exists with protocol {protocol} and is not ours; "
        "delete it or choose another metric"
    )


def _error(refusal: Refusal, verb: Verb) -> ProviderError:
    name = _name(refusal.change.key)
    hops = refusal.change.after.next_hops if refusal.change.after is not None else ()
    code = refusal.code
    if code in _UNREACHABLE:
        gateways = ", ".join(str(hop.gateway) for hop in hops if hop.gateway is not None)
        noun = "next hop" if len(hops) == 1 else "one of the next hops"
        return _NextHopError(f"{name}: {noun} {gateways} is not reachable")
    if code in {errno.ENODEV, errno.ENETDOWN} and hops:
        links = ", ".join(str(hop.link) for hop in hops if hop.link is not None)
        return _NextHopError(
            f"{name}: link {links} {'is down' if code == errno.ENETDOWN else 'does not exist'}"
        )
    words = refusal.text or os.strerror(code).lower()
    text = f"{name}: {verb} refused by the kernel: {words} ({errno.errorcode.get(code, code)})"
    if code in _LATER:
        return TransientError(text)
    if code == errno.EOPNOTSUPP:
        return UnsupportedError(text)
    if code == errno.EPERM:
        return PermanentError(f"{text}; routerd needs CAP_NET_ADMIN")
    return PermanentError(text)
