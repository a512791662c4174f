"""The routes that a routing provider learns, checked where they enter."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import NoneType

from routerd.errors import ProviderError, TransientError
from routerd.model.route import LearnedRoute, RejectedRoute, RouteSet
from routerd.reconcile.guard import asked, contained, of_plugin, sequence_of
from routerd.spi import Logger, Routing


async def learned(routing: Routing, kind: str, *, log: Logger, plugin: str) -> AsyncIterator[RouteSet]:
    """Yield each set of routes of a provider; raise `TransientError` when the stream fails or ends.

    A set of a wrong type is such a failure. The caller restarts the stream after a pause, and uses the last
    good set until then.
    """
    name = f"routing/{kind}"
    try:
        with contained(log, table=name, call="ask", plugin=plugin):
            stream = routing.learned().__aiter__()
        while True:
            # A set may take any time to come.
            found = await asked(
                lambda: _next(stream),
                log=log,
                table=name,
                call="ask",
                what="learned",
                deadline=None,
                plugin=plugin,
            )
            if found is None:
                raise TransientError("the stream of routes has ended")
            yield found
    except ProviderError as error:
        raise TransientError(of_plugin("learned", plugin) + f": {error}") from error


async def _next(stream: AsyncIterator[RouteSet]) -> RouteSet | None:
    try:
        found = await stream.__anext__()
    except StopAsyncIteration:
        return None
    return checked(found)


def checked(found: object) -> RouteSet:
    """Return a set of routes; `TypeError` when it is something else."""
    if not isinstance(found, RouteSet):
        raise TypeError(f"it yielded a {type(found).__name__}, not a RouteSet")
    for route in sequence_of(LearnedRoute, found.routes):
        _check(route.prefix, ("next hop", route.next_hop), ("neighbour", route.neighbour))
        if not isinstance(route.originator, (IPv4Address, NoneType)):
            raise TypeError(f"it yielded a route with originator {route.originator!r}, not a router ID")
    for rejected in sequence_of(RejectedRoute, found.rejected):
        _check(rejected.prefix, ("neighbour", rejected.neighbour))
    if not isinstance(found.heard, frozenset):
        raise TypeError(f"it yielded heard as a {type(found.heard).__name__}, not a frozenset")
    return found


def _check(prefix: object, *addresses: tuple[str, object]) -> None:
    if not isinstance(prefix, (IPv4Network, IPv6Network)):
        raise TypeError(f"it yielded a route with prefix {prefix!r}, not a network")
    for name, address in addresses:
        if not isinstance(address, (IPv4Address, IPv6Address)):
            raise TypeError(f"it yielded a route with {name} {address!r}, not an address")
