"""Which of several paths are best: RFC 4271 section 9.1.2.2, stopped where paths are equal. Pure.

The speaker keeps one best path only. The fabric wants all equal ones, so that two route
reflectors share the load, so the decision is made here, over what every neighbour has sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd.model.route import MAX_NEXT_HOPS, LearnedRoute


@attrs.frozen(kw_only=True)
class Candidate:
    """A path with the attributes that the decision looks at."""

    route: LearnedRoute
    origin: int = 0
    internal: bool = True

    @property
    def rank(self) -> tuple[int, int, int, int, bool]:
        """Return the sort key of steps a to e, the best first."""
        return (
            -self.route.local_preference,
            len(self.route.as_path),
            self.origin,
            self.route.med,
            self.internal,
        )


def decide(
    candidates: Iterable[Candidate],
    own: frozenset[IPv4Network] = frozenset(),
    waiting: frozenset[tuple[IPv4Network, IPv4Address]] = frozenset(),
) -> tuple[LearnedRoute, ...]:
    """Return every route, those of the best rank per prefix marked best, at most 16 of them.

    What we originate (`own`) is never best by somebody else's path. Paths that are `waiting`, by prefix and
    neighbour, are passed over, because others serve.
    """
    by_prefix: dict[IPv4Network, list[Candidate]] = {}
    for candidate in candidates:
        by_prefix.setdefault(candidate.route.prefix, []).append(candidate)
    decided: list[LearnedRoute] = []
    for prefix in sorted(by_prefix):
        paths = sorted(
            by_prefix[prefix],
            key=lambda each: (_waits(each, waiting), each.rank, each.route.neighbour),
        )
        best = paths[0].rank
        for position, path in enumerate(paths):
            passed = prefix in own or _waits(path, waiting)
            is_best = not passed and path.rank == best and position < MAX_NEXT_HOPS
            decided.append(attrs.evolve(path.route, best=is_best))
    return tuple(decided)


def _waits(path: Candidate, waiting: frozenset[tuple[IPv4Network, IPv4Address]]) -> bool:
    return bool(waiting) and (path.route.prefix, path.route.neighbour) in waiting
