"""Paths that are new where others serve already: whoever announces one may not have the route itself yet.

A reflector passes a path on as soon as it has it; its own kernel has the route some moments later. Where no
packet flows yet nothing is lost by being first, but packets that have a way must not be sent where there is
none yet: after a reflector's host has restarted, for one. Pure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network

from routerd.model.route import LearnedRoute

HEAD_START = 1.0
"""Seconds for the neighbour's kernel."""

PathKey = tuple[IPv4Network, IPv4Address]


def path_key(path: LearnedRoute) -> PathKey:
    """Return what tells paths apart: the prefix, and the neighbour that announces it."""
    return path.prefix, path.neighbour


class Newcomers:
    """Remembers since when each path is there."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[PathKey, float] = {}
        self._wait: float | None = None

    def among(self, paths: Iterable[LearnedRoute]) -> frozenset[PathKey]:
        """Return those of all paths that are there now which are not to be used yet."""
        now = self._clock()
        self._since = {path_key(each): self._first_seen(each, now) for each in paths}
        served = {key[0] for key, since in self._since.items() if now - since >= HEAD_START}
        waiting = {
            key: HEAD_START - (now - since)
            for key, since in self._since.items()
            if now - since < HEAD_START and key[0] in served
        }
        self._wait = min(waiting.values(), default=None)
        return frozenset(waiting)

    def pause(self, longest: float) -> float:
        """Return the seconds until one that waited when last looked at is old enough; says so once."""
        wait, self._wait = self._wait, None
        return longest if wait is None else wait

    def _first_seen(self, path: LearnedRoute, now: float) -> float:
        # What is kept of a lost session is not new, even where somebody alive took its place until now.
        return self._since.get(path_key(path), now - HEAD_START if path.stale else now)
