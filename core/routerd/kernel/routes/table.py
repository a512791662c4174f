"""The kernel's routes of protocol 147 as a table.

What complicates this:

* NLM_F_REPLACE does not compare the protocol, so a replacement reads the table first; otherwise it
  could take a foreign route's place.
* The kernel takes all next hops of a route or refuses the route, and a link that goes takes its whole
  routes along. So a refused route is written again with its reachable next hops, and stays an error.
* A gateway must be reachable when its route is made. So routes that name only a link go first, and
  those that the kernel refused as unreachable go a second time.
* A next hop may leave its link to the kernel, which always reports one; `agrees` compares them.
* A table holds 100,000 routes that share few next hops. Making, hashing and comparing values costs more
  than reading them, so identities are bytes, and equal objects are compared once (`dump`, `_compared`).
* Sends block, so they run in a thread. A cancelled apply waits for its batch; otherwise that would
  write behind the next `observe`.
"""

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Network
from typing import TypeVar

import attrs

from routerd.errors import PermanentError, ProviderError
from routerd.kernel.ownership import is_our_route
from routerd.kernel.routes import socket as route_socket
from routerd.kernel.routes.dump import Form, identity
from routerd.kernel.routes.lookup import lookup
from routerd.kernel.routes.refusals import (
    GONE,
    UNREACHABLE,
    NextHopError,
    fault,
    foreign,
    hop_name,
    refusal_error,
    route_name,
)
from routerd.kernel.routes.socket import RouteChange
from routerd.model.addresses import first_ipv6, no_ipv6
from routerd.model.change import Verb
from routerd.model.route import ROUTE_PROTOCOL, NextHop, Route, RouteKey

T = TypeVar("T")
Stopped = Callable[[], bool]


class RouteTable:
    """Implements `spi.Table[RouteKey, Route]` for IPv4 in every routing table.

    A route of another protocol on the same prefix, metric and table is a `NotOwnedError`. A
    replacement is one request, so that no packet finds the route missing.
    """

    def __init__(self) -> None:
        self._keys: dict[bytes, RouteKey] = {}
        """Keys of the last observation by identity; a key costs more than its route."""
        self._written: list[RouteChange] = []
        """Changes since then; their keys will be observed."""
        self._compared: dict[tuple[int, int], tuple[Route, Route, bool]] = {}
        """Results of comparisons since then: few pairs of objects serve all prefixes."""

    async def observe(self) -> Mapping[RouteKey, Route]:
        """Return our routes as the kernel has them."""
        return await _in_thread(self._observe)

    def agrees(self, desired: Route, observed: Route) -> bool:
        """Say whether `observed` is `desired` with the kernel's choice of the open links."""
        pair = id(desired), id(observed)
        known = self._compared.get(pair)
        if known is None:
            # The entry keeps both alive, so no other object gets their numbers.
            known = self._compared[pair] = desired, observed, _agrees(desired, observed)
        return known[2]

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[RouteKey, ProviderError]:
        """Delete, create, then replace."""
        changes, unsupported = _only_ipv4(changes)
        self._written += changes
        failures = unsupported | await _in_thread(partial(_apply, changes))
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


def _only_ipv4(
    changes: Sequence[RouteChange],
) -> tuple[Sequence[RouteChange], dict[RouteKey, ProviderError]]:
    """Return the changes without IPv6, which our messages cannot carry, and the errors of the others."""
    # As `spi.only_ipv4` does, but each of the few routes is searched once.
    found = {id(change.after): first_ipv6(change.after) for change in changes}
    failures: dict[RouteKey, ProviderError] = {}
    for change in changes:
        prefix = change.key.prefix
        value = found[id(change.after)] if isinstance(prefix, IPv4Network) else prefix
        if value is not None:
            failures[change.key] = no_ipv6(route_name(change.key), value)
    return [change for change in changes if change.key not in failures] if failures else changes, failures


def _apply(changes: Sequence[RouteChange], stopped: Stopped) -> dict[RouteKey, ProviderError]:
    failures: dict[RouteKey, ProviderError] = {}
    # Many prefixes share few routes, so each route is checked once.
    routes = {id(change.after): change.after for change in changes if change.after is not None}
    faulty = {name: found for name, route in routes.items() if (found := fault(route)) is not None}
    if faulty:
        failures = {
            change.key: PermanentError(f"{route_name(change.key)}: {faulty[id(change.after)]}")
            for change in changes
            if id(change.after) in faulty
        }
        changes = [change for change in changes if change.key not in failures]
    deletions = [change for change in changes if change.after is None]
    creations = [change for change in changes if change.before is None]
    replacements = [change for change in changes if change.before is not None and change.after is not None]
    for refusal in route_socket.write(deletions, "delete", stopped):
        if refusal.code not in GONE:
            failures[refusal.change.key] = refusal_error(refusal, "delete")
    direct = {name for name, route in routes.items() if not _has_gateway(route)}
    if direct:
        creations.sort(key=lambda change: id(change.after) not in direct)
    again: list[RouteChange] = []
    for refusal in route_socket.write(creations, "create", stopped):
        if refusal.code == errno.EEXIST:
            replacements.append(refusal.change)
        elif refusal.code in UNREACHABLE:
            again.append(refusal.change)
        else:
            failures[refusal.change.key] = refusal_error(refusal, "create")
    if replacements and not stopped():
        failures |= _replace(replacements, stopped)
    failures |= _written(again, "create", stopped)
    return failures


def _replace(changes: Sequence[RouteChange], stopped: Stopped) -> dict[RouteKey, ProviderError]:
    """Replace routes of ours; read first, because NLM_F_REPLACE does not compare the protocol.

    The kernel replaces the first route of a prefix, metric and table, so that one decides. If another
    program adds a route in front of ours between the reading and the send, it loses that route;
    rtnetlink has no means against it.
    """
    wanted = {identity(change.key): change for change in changes}
    present: dict[bytes, Form] = {}
    for destination, form in route_socket.dump(0):
        name = destination + form.place
        if name in wanted:
            present.setdefault(name, form)
    failures: dict[RouteKey, ProviderError] = {}
    absent: list[RouteChange] = []
    others: list[RouteChange] = []
    settled: dict[tuple[int, int], bool] = {}
    for name, change in wanted.items():
        found = present.get(name)
        if found is None:
            absent.append(change)
        elif not is_our_route(found.protocol):
            failures[change.key] = foreign(change.key, found.protocol)
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
    """Make refused routes again with their reachable next hops; return their errors."""
    refused = [
        (change, change.after)
        for change in changes
        if change.after is not None
        and len(change.after.next_hops) > 1
        and isinstance(failures.get(change.key), NextHopError)
    ]
    hops = {hop for _, route in refused for hop in route.next_hops}
    good = {hop for hop in hops if await _reachable(hop)}
    # Many prefixes share a route, which must stay one object to be packed and compared once.
    smaller = {id(route): _only(route, good) for _, route in refused}
    partly = [
        attrs.evolve(change, after=smaller[id(route)]) for change, route in refused if smaller[id(route)]
    ]
    if not partly:
        return {}
    failed = await _in_thread(partial(_replace, partly))
    missing = {
        id(route): ", ".join(hop_name(hop) for hop in route.next_hops if hop not in good)
        for _, route in refused
    }
    return {
        change.key: failed.get(change.key)
        or NextHopError(
            f"{route_name(change.key)}: {missing[id(route)]} is not reachable; routerd uses the others"
        )
        for change, route in refused
        if smaller[id(route)]
    }


def _only(route: Route, good: set[NextHop]) -> Route | None:
    hops = tuple(hop for hop in route.next_hops if hop in good)
    return attrs.evolve(route, next_hops=hops) if 0 < len(hops) < len(route.next_hops) else None


async def _reachable(hop: NextHop) -> bool:
    """Say whether the kernel accepts a next hop: its gateway must be a neighbour on a link that is up."""
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
        refusal.change.key: refusal_error(refusal, verb)
        for refusal in route_socket.write(changes, verb, stopped)
    }


async def _in_thread(work: Callable[[Stopped], T]) -> T:
    """Run `work` in a thread; on a cancellation stop it and wait for its end.

    So it writes nothing behind the next `observe`. The work has its own deadlines.
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
    """Say whether `found` is `asked` with the kernel's choice of the open links."""
    if (asked.kind, asked.source) != (found.kind, found.source):
        return False
    if len(asked.next_hops) != len(found.next_hops):
        return False
    return all(
        (here.gateway, here.onlink) == (there.gateway, there.onlink) and here.link in (None, there.link)
        for here, there in zip(asked.next_hops, found.next_hops, strict=True)
    )


def _has_gateway(route: Route) -> bool:
    return any(hop.gateway is not None for hop in route.next_hops)
