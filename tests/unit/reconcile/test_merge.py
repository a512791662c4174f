"""The routes of several protocols as one set."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from routerd.model.route import LearnedRoute, RejectedRoute, RouteSet
from routerd.reconcile.merge import merged

PREFERENCES = {"static": 1, "ospf": 110, "bgp": 200}


def path(prefix: str, source: str, *, best: bool = True) -> LearnedRoute:
    hop = IPv4Address("192.0.2.1") + list(PREFERENCES).index(source)
    return LearnedRoute(prefix=IPv4Network(prefix), next_hop=hop, neighbour=hop, best=best, source=source)


def learned(*routes: LearnedRoute, complete: bool = True) -> RouteSet:
    return RouteSet(routes=routes, complete=complete)


def best_sources(sets: Mapping[str, RouteSet]) -> dict[str, str]:
    known = merged(sets, PREFERENCES)
    assert known is not None
    return {str(route.prefix): route.source for route in known.routes if route.best}


def test_before_any_has_spoken_nothing_is_known() -> None:
    assert merged({}, PREFERENCES) is None


def test_the_lower_preference_wins_and_its_withdrawal_reveals_the_next() -> None:
    one, two = path("10.80.1.1/32", "bgp"), path("10.80.1.1/32", "static")
    assert best_sources({"bgp": learned(one), "static": learned(two)}) == {"10.80.1.1/32": "static"}
    assert best_sources({"bgp": learned(one), "static": learned()}) == {"10.80.1.1/32": "bgp"}


def test_what_is_not_best_in_its_protocol_takes_nothing_from_others() -> None:
    sets = {
        "bgp": learned(path("10.80.1.1/32", "bgp")),
        "static": learned(path("10.80.1.1/32", "static", best=False)),
    }
    assert best_sources(sets) == {"10.80.1.1/32": "bgp"}


def test_it_is_complete_when_all_that_are_to_speak_have_said_all() -> None:
    sets = {"bgp": learned(), "static": learned()}
    alone = merged({"bgp": learned()}, {"bgp": 200})
    assert alone is not None
    assert alone.complete
    for known in (sets, {**sets, "ospf": learned(complete=False)}):
        found = merged(known, PREFERENCES)
        assert found is not None
        assert not found.complete
    everybody = merged({**sets, "ospf": learned()}, PREFERENCES)
    assert everybody is not None
    assert everybody.complete


def test_refusals_and_who_was_heard_are_of_all() -> None:
    address = IPv4Address("192.0.2.9")
    refused = RejectedRoute(prefix=IPv4Network("10.0.0.0/8"), neighbour=address, reason="x", source="ospf")
    sets = {"bgp": RouteSet(heard=frozenset({address})), "ospf": RouteSet(rejected=(refused,))}
    found = merged(sets, PREFERENCES)
    assert found is not None
    assert (found.heard, found.rejected) == (frozenset({address}), (refused,))


ROUTES = st.dictionaries(
    st.sampled_from(sorted(PREFERENCES)),
    st.sets(st.integers(1, 5)).map(sorted),
    min_size=1,
)


@given(ROUTES)
def test_every_prefix_has_the_best_path_of_one_protocol_and_none_is_lost(known: dict[str, list[int]]) -> None:
    sets = {
        name: learned(*(path(f"10.80.1.{number}/32", name) for number in numbers))
        for name, numbers in known.items()
    }
    found = merged(sets, PREFERENCES)
    assert found is not None
    assert len(found.routes) == sum(map(len, known.values()))
    for number in {number for numbers in known.values() for number in numbers}:
        prefix = IPv4Network(f"10.80.1.{number}/32")
        (best,) = [route.source for route in found.routes if route.best and route.prefix == prefix]
        assert PREFERENCES[best] == min(PREFERENCES[n] for n, numbers in known.items() if number in numbers)
