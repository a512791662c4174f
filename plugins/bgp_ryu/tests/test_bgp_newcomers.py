"""A path that is new waits a moment where another one serves: its neighbour's kernel needs it, too."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Network

import attrs
import pytest

from routerd.model.bgp.best_path import decide
from routerd.model.route import LearnedRoute
from routerd_bgp_ryu.newcomers import HEAD_START, Newcomers
from routerd_bgp_ryu.testing.nodes import Node, Nodes, established, until

A, B = "10.88.80.1/32", "10.88.80.2/32"
ONE, TWO, THREE = map(IPv4Address, ("192.0.2.1", "192.0.2.2", "192.0.2.3"))


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def path(
    neighbour: IPv4Address, prefix: str = A, preference: int = 100, *, stale: bool = False
) -> LearnedRoute:
    return LearnedRoute(
        prefix=IPv4Network(prefix),
        next_hop=neighbour,
        neighbour=neighbour,
        local_preference=preference,
        stale=stale,
    )


@attrs.define
class Table:
    clock: Time = attrs.field(factory=Time)
    newcomers: Newcomers = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.newcomers = Newcomers(self.clock)

    def best(self, seconds: float, *paths: LearnedRoute) -> set[IPv4Address]:
        """Return whose paths are best at a time."""
        self.clock.now = seconds
        routes = decide(paths, waiting=self.newcomers.among(paths))
        assert len(routes) == len(paths)
        return {route.neighbour for route in routes if route.best}


class TestPure:
    def test_what_comes_at_first_is_used_at_once(self) -> None:
        table = Table()
        assert table.best(0, path(ONE)) == {ONE}
        assert table.best(0.9, path(ONE), path(TWO)) == {ONE, TWO}
        assert table.newcomers.pause(30) == 30

    def test_what_is_kept_of_a_lost_session_is_not_new(self) -> None:
        """It was passed over while somebody alive announced the prefix, who has gone now, too."""
        table = Table()
        assert table.best(0, path(ONE), path(TWO)) == {ONE, TWO}
        assert table.best(5, path(TWO)) == {TWO}
        assert table.best(6, path(ONE, stale=True), path(TWO, stale=True)) == {ONE, TWO}

    @pytest.mark.parametrize("preference", [100, 200], ids=["equal", "better"])
    def test_what_comes_later_waits_for_its_neighbours_kernel(self, preference: int) -> None:
        table = Table()
        later = path(TWO, preference=preference)
        after = {ONE, TWO} if preference == 100 else {TWO}
        assert table.best(0, path(ONE)) == {ONE}
        assert table.best(5, path(ONE), later) == {ONE}
        assert table.newcomers.pause(30) == pytest.approx(HEAD_START)
        assert table.newcomers.pause(30) == 30
        assert table.best(5.75, path(ONE), later) == {ONE}
        assert table.newcomers.pause(30) == pytest.approx(HEAD_START - 0.75)
        assert table.best(5 + HEAD_START, path(ONE), later) == after
        assert table.newcomers.pause(30) == 30

    def test_it_does_not_wait_when_nobody_else_serves_any_more(self) -> None:
        table = Table()
        table.best(0, path(ONE))
        assert table.best(5, path(ONE), path(TWO)) == {ONE}
        assert table.best(5.1, path(TWO)) == {TWO}

    def test_who_serves_one_prefix_says_nothing_of_another(self) -> None:
        table = Table()
        table.best(0, path(ONE))
        assert table.best(5, path(ONE), path(TWO, B)) == {ONE, TWO}

    def test_changed_attributes_make_no_newcomer_and_a_return_does(self) -> None:
        table = Table()
        table.best(0, path(ONE), path(TWO))
        assert table.best(5, path(ONE), path(TWO, preference=200)) == {TWO}
        assert table.best(6, path(ONE)) == {ONE}
        assert table.best(7, path(ONE), path(TWO)) == {ONE}
        assert table.best(7.5, path(ONE), path(TWO), path(THREE)) == {ONE}
        assert table.best(8, path(ONE), path(TWO), path(THREE)) == {ONE, TWO}


@pytest.mark.live
async def test_a_second_way_is_used_a_moment_after_it_is_known(nodes: Nodes) -> None:
    first, second, leaf, far = nodes(), nodes(), nodes(), nodes()
    for node in (first, second, leaf, far):
        await node.start()
    for rr in (first, second):
        await rr.serve(leaf, A)
        await rr.serve(far, B)
    await leaf.join(first)
    await far.join(first)
    await far.announce(B)
    await until(lambda: leaf.learned() == {B: {str(first.address)}}, "one way")
    serves = time.monotonic()
    await until(lambda: time.monotonic() > serves + HEAD_START, "it has served for some time")
    await leaf.join(second)
    await far.join(second)
    await established((leaf, second), (far, second))
    await until(lambda: len(paths(leaf)) == 2, "two paths")
    known = time.monotonic()
    await until(lambda: leaf.learned() == {B: {str(first.address), str(second.address)}}, "two ways")
    assert time.monotonic() - known > HEAD_START / 2


def paths(node: Node) -> list[LearnedRoute]:
    return [each for each in node.last.routes if str(each.prefix) == B]
