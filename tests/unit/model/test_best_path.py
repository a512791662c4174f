"""The decision between paths: each step, ties, what is originated here, and the words for it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import attrs
import pytest

from routerd.model.bgp.best_path import decide, lost_at, order_of, rank
from routerd.model.route import LearnedRoute

PREFIX = IPv4Network("10.88.1.1/32")


def path(neighbour: int, **more: object) -> LearnedRoute:
    address = IPv4Address(f"10.255.0.{neighbour}")
    return LearnedRoute(prefix=PREFIX, next_hop=address, neighbour=address, **more)  # type: ignore[arg-type]  # test


def best(*paths: LearnedRoute, own: frozenset[IPv4Network] = frozenset()) -> list[int]:
    return [int(route.neighbour) & 0xFF for route in decide(paths, own) if route.best]


def test_equal_paths_are_all_best() -> None:
    assert best(path(2), path(1)) == [1, 2]


@pytest.mark.parametrize(
    ("better", "worse", "step"),
    [
        (path(2, local_preference=200), path(1), "local preference"),
        (path(2), path(1, as_path=(65001,)), "AS path"),
        (path(2), path(1, origin=2), "ORIGIN"),
        (path(2), path(1, med=10), "MED"),
        (path(2, internal=False), path(1), "session inside the AS"),
        (path(2, local_preference=200, as_path=(1, 2, 3)), path(1), "local preference"),
    ],
)
def test_each_step_of_the_decision_prefers(better: LearnedRoute, worse: LearnedRoute, step: str) -> None:
    assert best(better, worse) == [2]
    assert best(worse, better) == [2]
    assert lost_at(worse, better) == step
    assert lost_at(better, worse) is None


def test_best_paths_lead_to_no_more_than_sixteen_next_hops() -> None:
    assert best(*(path(number) for number in range(1, 21))) == list(range(1, 17))


def test_sixteen_next_hops_are_sixteen_different_ones() -> None:
    hops = [attrs.evolve(path(number), next_hop=IPv4Address(number // 2)) for number in range(2, 42)]
    assert best(*hops) == list(range(2, 34))


def test_what_we_originate_is_never_best_by_another() -> None:
    assert best(path(1), own=frozenset({PREFIX})) == []


def test_paths_that_wait_are_passed_over() -> None:
    waiting = frozenset({(PREFIX, IPv4Address("10.255.0.1"))})
    decided = decide([path(1, local_preference=200), path(2)], waiting=waiting)
    assert [route.neighbour for route in decided if route.best] == [IPv4Address("10.255.0.2")]


def test_equal_ranks_are_ordered_by_router_id() -> None:
    lower, higher = (path(1, originator=IPv4Address(number)) for number in (1, 2))
    assert order_of(lower) < order_of(higher)
    assert order_of(attrs.evolve(higher, med=1)) > order_of(attrs.evolve(lower, med=1))
    assert order_of(attrs.evolve(lower, med=1)) > order_of(higher)
    assert lost_at(higher, lower) is None


def test_a_path_of_our_own_comes_before_all_but_a_higher_preference() -> None:
    ours = rank(local_preference=100, hops=0, origin=0, med=99, internal=True, own=True)
    assert ours < rank(local_preference=100, hops=0, origin=0, med=0, internal=True)
    assert ours > rank(local_preference=101, hops=0, origin=0, med=0, internal=True)
