"""What outlives a lost session: graceful restart (RFC 4724), on both sides of this speaker.

A lost session's routes live on in two places, each with its own end:

- `StaleRoutes`, for the daemon: after any loss that the neighbour did not mean, for `staleTime`. The way to a
  neighbour may well work while its speaker restarts; without this, each restart of a route reflector would be
  an outage of the fabric.
- `Graceful`, for the neighbours that the routes were reflected to: only where the connection broke without a
  NOTIFICATION and the neighbour's OPEN had the capability, for the time that it asked for. The paths stay in
  the library's table (`Reflected`).

Both end early: when the neighbour has announced everything, when a policy refuses the route, when the session
is taken out.
"""

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

import attrs

from routerd_bgp_ryu.child.osken import Library, packet

_COMES_BACK = (4, 6, 7, 8)
"""Subcodes of a Cease after which the neighbour is expected again (RFC 4486 section 3)."""

T = TypeVar("T")


def is_goodbye(notification: tuple[int, int] | None) -> bool:
    """Say whether the NOTIFICATION that ended a session takes its routes along.

    Without a NOTIFICATION the connection just broke. A hold timer that expires (4) is not what anybody meant.
    """
    if notification is None:
        return False
    code, subcode = notification
    return not (code == 4 or (code == 6 and subcode in _COMES_BACK))


class StaleRoutes(Generic[T]):
    """The accepted routes of lost sessions, by neighbour, for `seconds` after the loss."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[str, dict[str, tuple[float, T]]] = {}

    def keep(self, neighbour: str, routes: Mapping[str, T]) -> None:
        """Keep what a neighbour had announced, by prefix, when its session was lost.

        A route of an earlier loss that the neighbour has not announced again keeps its own end.
        """
        end = self._clock() + self._seconds
        fresh = {prefix: (end, route) for prefix, route in routes.items()}
        if fresh:
            self._kept[neighbour] = {**self._kept.get(neighbour, {}), **fresh}

    def drop(self, neighbour: str) -> None:
        """Forget what is kept of a neighbour."""
        self._kept.pop(neighbour, None)

    def replaced(self, neighbour: str, announced: Container[str]) -> None:
        """Forget what the neighbour has announced again: from now on it speaks for itself."""
        self._leave(neighbour, lambda prefix, _: prefix not in announced)

    def expire(self) -> bool:
        """Forget what was kept long enough; say whether that was anything."""
        now = self._clock()
        over = [each for each in list(self._kept) if self._leave(each, lambda _, end: end > now)]
        return bool(over)

    def all(self) -> Iterator[tuple[str, str, T]]:
        """Yield every route that is kept, with its neighbour and prefix."""
        for neighbour, routes in sorted(self._kept.items()):
            for prefix in sorted(routes):
                yield neighbour, prefix, routes[prefix][1]

    def _leave(self, neighbour: str, stays: Callable[[str, float], bool]) -> bool:
        before = self._kept.get(neighbour)
        if before is None:
            return False
        after = {prefix: kept for prefix, kept in before.items() if stays(prefix, kept[0])}
        if after:
            self._kept[neighbour] = after
        else:
            self.drop(neighbour)
        return len(after) < len(before)


_IPV4_UNICAST = (1, 1)
_RESTARTED = 0x8
"""The bit R of the four flags: we have just started, and nobody should wait for us now (section 3)."""

_FORWARDS = 0x80
"""The bit F of an address family: what was forwarded before is forwarded still."""

_LONGEST = 4095
"""Seconds that the twelve bits of the restart time can say."""


@attrs.define
class _Kept:
    prefixes: frozenset[str]
    lost: float
    end: float


class Graceful:
    """Whose paths are kept, which of them, and until when; `seconds` is the longest time."""

    def __init__(
        self, seconds: float, *, forwards: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._forwards = forwards
        self._clock = clock
        self._times: dict[str, float] = {}
        self._kept: dict[str, _Kept] = {}

    def capability(self, *, complete: bool) -> Library:
        """Return what our next OPEN says.

        That we forward is true when a speaker before us has died, whose routes the kernel still has, and
        as soon as we are `complete`. After a start of the host nothing is forwarded at first.
        """
        return packet.BGPOptParamCapabilityGracefulRestart(
            flags=_RESTARTED if self._forwards and not complete else 0,
            time=int(min(self._seconds, _LONGEST)),
            tuples=[(*_IPV4_UNICAST, _FORWARDS if self._forwards or complete else 0)],
        )

    def up(self, neighbour: str, opened: Library) -> bool:
        """Take note of the OPEN of a session; say whether its sender forwards what is kept of it."""
        found = opened.opt_param_cap_map.get(packet.BGP_CAP_GRACEFUL_RESTART)
        flags = [each[2] for each in found.tuples if each[:2] == _IPV4_UNICAST] if found is not None else []
        self._times.pop(neighbour, None)
        if not flags:
            return False
        self._times[neighbour] = found.time
        kept = self._kept.get(neighbour)
        if kept is not None:
            kept.end = kept.lost + self._seconds
        return bool(flags[0] & _FORWARDS)

    def lost(self, neighbour: str, prefixes: Iterable[str]) -> None:
        """Keep what a neighbour had announced, if its OPEN said that it may be back."""
        if neighbour in self._times:
            now = self._clock()
            end = now + min(self._times[neighbour], self._seconds)
            self._kept[neighbour] = _Kept(frozenset(prefixes), now, end)

    def narrow(self, neighbour: str, permitted: Iterable[str]) -> bool:
        """Keep no more than what is permitted now; say whether anything is kept no more."""
        kept = self._kept.get(neighbour)
        if kept is None:
            return False
        before, kept.prefixes = kept.prefixes, kept.prefixes.intersection(permitted)
        return kept.prefixes != before

    def leave(self, neighbour: str) -> bool:
        """Keep nothing of a neighbour; say whether anything was kept."""
        return self._kept.pop(neighbour, None) is not None

    def over(self) -> list[str]:
        """Return whose time is over."""
        now = self._clock()
        return [neighbour for neighbour, kept in self._kept.items() if kept.end <= now]

    def holds(self, neighbour: str, prefix: str) -> bool:
        """Say whether a path of a lost session is kept."""
        kept = self._kept.get(neighbour)
        return kept is not None and prefix in kept.prefixes
