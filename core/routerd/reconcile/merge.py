"""The routes of several routing protocols as one set. Pure."""

from collections.abc import Iterator, Mapping

import attrs

from routerd.model.addresses import IPNetwork
from routerd.model.route import LearnedRoute, RouteSet


def merged(sets: Mapping[str, RouteSet], preferences: Mapping[str, int]) -> RouteSet | None:
    """Return what the protocols know together; none before the first of them has spoken.

    `sets` has the newest set of each protocol that has spoken, `preferences` the administrative distance of
    every protocol that is to speak; without all of these the result is not complete. Of the protocols that
    have a best path to a prefix only that of the lowest preference keeps it, of two equal ones the first by
    name. What it withdraws reveals the next one's.
    """
    speaking = [sets[name] for name in sorted(sets)]
    if not speaking:
        return None
    complete = all(name in sets and sets[name].complete for name in preferences)
    if len(speaking) == 1:
        (known,) = speaking
        return known if known.complete == complete else attrs.evolve(known, complete=complete)
    return RouteSet(
        routes=tuple(_merged_routes(sets, preferences)),
        rejected=tuple(each for known in speaking for each in known.rejected),
        complete=complete,
        heard=frozenset().union(*(known.heard for known in speaking)),
    )


def _merged_routes(sets: Mapping[str, RouteSet], preferences: Mapping[str, int]) -> Iterator[LearnedRoute]:
    taken: dict[IPNetwork, str] = {}
    for name in sorted(sets, key=lambda each: (preferences.get(each, _LAST), each)):
        for route in sets[name].routes:
            if route.best and taken.setdefault(route.prefix, name) != name:
                yield attrs.evolve(route, best=False)
            else:
                yield route


_LAST = 256
"""The preference of a protocol that is not enabled any more."""
