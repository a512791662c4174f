"""New paths to a prefix that others serve already: their neighbour may not have the route itself yet. Pure.

A reflector passes a path on as soon as it has it; its own kernel has the route some moments later. If no
packet flows yet, the first path may be used at once. Packets that have a way must not take one that does
not work yet, such as after a restart of a reflector's host.
"""

import time
from collections.abc import Callable, Iterable

from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.route import LearnedRoute

HEAD_START = 1.0
"""Seconds that the neighbour's kernel has for the route."""

PathKey = tuple[IPNetwork, IPAddress]


class Newcomers:
    """Remembers when each path came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[PathKey, float] = {}
        self._wait: float | None = None

    def among(self, paths: Iterable[LearnedRoute]) -> frozenset[PathKey]:
        """Return the paths, of all present ones, that the daemon must not use yet."""
        now = self._clock()
        since = {}
        for each in paths:
            key = each.prefix, each.neighbour
            # A path of a lost session is not new, even if a live neighbour's took its place until now.
            since[key] = self._since.get(key, now - HEAD_START if each.stale else now)
        self._since = since
        served = {key[0] for key, since in self._since.items() if now - since >= HEAD_START}
        waiting = {
            key: HEAD_START - (now - since)
            for key, since in self._since.items()
            if now - since < HEAD_START and key[0] in served
        }
        self._wait = min(waiting.values(), default=None)
        return frozenset(waiting)

    def pause(self, longest: float) -> float:
        """Return the seconds until the first path of the last look is old enough, once; else `longest`."""
        wait, self._wait = self._wait, None
        return longest if wait is None else wait
