"""Routes of a session that was lost: kept for a time, because the neighbour usually comes back. Pure.

The way to a neighbour may well work while its speaker starts anew; taking its routes away at once
would turn every restart of a route reflector into an outage of the fabric (RFC 4724 calls such
routes stale). A neighbour that says goodbye means it, and nothing is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator

from routerd_bgp_ryu.wire import Document

_COMES_BACK = (4, 6, 7, 8)
"""Subcodes of a Cease after which the neighbour is expected again (RFC 4486 section 3)."""


def is_goodbye(notification: tuple[int, int] | None) -> bool:
    """Say whether the NOTIFICATION that ended a session means that its routes are to go.

    Without one the connection just broke; an expired hold timer (4) is no will of anybody.
    """
    if notification is None:
        return False
    code, subcode = notification
    return not (code == 4 or (code == 6 and subcode in _COMES_BACK))


class StaleRoutes:
    """The accepted routes of lost sessions, by neighbour, for `seconds` after the loss."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[str, dict[str, tuple[float, Document]]] = {}

    def keep(self, neighbour: str, routes: Iterable[Document]) -> None:
        """Keep what a neighbour had announced when its session was lost.

        What is kept from an earlier loss, and was not announced again since, keeps its own end.
        """
        end = self._clock() + self._seconds
        fresh = {str(route["prefix"]): (end, route) for route in routes}
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

    def all(self) -> Iterator[Document]:
        """Yield every route that is kept."""
        for _, routes in sorted(self._kept.items()):
            for _, (_, route) in sorted(routes.items()):
                yield route

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
