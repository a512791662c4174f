"""Which paths to a prefix are best: RFC 4271 section 9.1.2.2, for everything that has to know it. Pure.

The speaker asks for the one path that it reflects, the daemon for all equal ones, so that two route
reflectors share the load, and a placement group for the leaf that a reflector would prefer.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address

import attrs

from routerd.model.addresses import IPAddress, IPNetwork, order
from routerd.model.route import MAX_NEXT_HOPS, LearnedRoute

Rank = tuple[int, bool, int, int, int, bool]

STEPS = ("local preference", "origin elsewhere", "AS path", "ORIGIN", "MED", "session inside the AS")
"""What the fields of a rank compare, in the order of the decision."""


def rank(
    *, local_preference: int, hops: int, origin: int, med: int, internal: bool, own: bool = False
) -> Rank:
    """Return the sort key of a path by the steps up to e, the best first.

    `hops` is the length of the AS path; `own` says that this router originates the path.
    """
    return -local_preference, not own, hops, origin, med, internal


def rank_of(route: LearnedRoute) -> Rank:
    """Return the rank of a path that a neighbour announced."""
    return rank(
        local_preference=route.local_preference,
        hops=len(route.as_path),
        origin=route.origin,
        med=route.med,
        internal=route.internal,
    )


def order_of(route: LearnedRoute) -> tuple[Rank, IPv4Address]:
    """Return the sort key of a path by the steps up to f: by the router ID where the ranks are equal."""
    return rank_of(route), route.originator or IPv4Address(0)


def lost_at(path: LearnedRoute, best: LearnedRoute) -> str | None:
    """Return the step at which a path lost against the best one; none where its rank did not lose."""
    ranks = zip(STEPS, rank_of(path), rank_of(best), strict=True)
    step, one, other = next((each for each in ranks if each[1] != each[2]), ("", 0, 0))
    return step if one > other else None


def decide(
    paths: Iterable[LearnedRoute],
    own: frozenset[IPNetwork] = frozenset(),
    waiting: frozenset[tuple[IPNetwork, IPAddress]] = frozenset(),
) -> tuple[LearnedRoute, ...]:
    """Return every path by prefix, those of the best rank marked best, to at most 16 next hops.

    No neighbour's path is best to a prefix that this router originates (`own`). Paths that are `waiting`, by
    prefix and neighbour, are passed over, because others serve.
    """
    by_prefix: dict[IPNetwork, list[tuple[bool, Rank, tuple[int, ...], LearnedRoute]]] = {}
    for path in paths:
        waits = bool(waiting) and (path.prefix, path.neighbour) in waiting
        entry = waits, rank_of(path), order(path.neighbour), path
        by_prefix.setdefault(path.prefix, []).append(entry)
    decided: list[LearnedRoute] = []
    for prefix in sorted(by_prefix, key=order):
        entries = sorted(by_prefix[prefix], key=lambda each: each[:3])
        best_rank, next_hops = entries[0][1], set[IPAddress]()
        for waits, its_rank, _, path in entries:
            best = not waits and prefix not in own and its_rank == best_rank
            if best and len(next_hops | {path.next_hop}) <= MAX_NEXT_HOPS:
                next_hops.add(path.next_hop)
            else:
                best = False
            decided.append(path if path.best == best else attrs.evolve(path, best=best))
    return tuple(decided)
