"""Fail static: what a neighbour had announced stays for a time when its session is lost, and never longer."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta

import pytest

from routerd.model.session import ImportPolicy
from routerd_bgp_ryu.child.restart import StaleRoutes, is_goodbye
from routerd_bgp_ryu.testing.nodes import FAST, Node, Nodes, established, pair, put, until

A, B = "10.88.60.1/32", "10.88.60.2/32"
SETTLE = 1.0
"""Seconds without a new route after which a speaker says that it has announced everything."""


def route(prefix: str, neighbour: str = "10.0.0.1") -> dict[str, object]:
    return {"prefix": prefix, "neighbour": neighbour}


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class TestPure:
    def test_each_route_has_its_own_end(self) -> None:
        """A session that comes and goes does not keep a route that it no longer announces."""
        clock = Time()
        kept = StaleRoutes[int](120, clock)
        kept.keep("n", {A: 1, B: 2})
        clock.now = 60
        kept.replaced("n", {B})
        assert [prefix for _, prefix, _ in kept.all()] == [A]
        kept.keep("n", {B: 2})
        clock.now = 120
        assert kept.expire()
        assert [prefix for _, prefix, _ in kept.all()] == [B]
        assert not kept.expire()
        clock.now = 180
        assert kept.expire()
        assert list(kept.all()) == []

    def test_nothing_is_kept_of_who_is_dropped(self) -> None:
        kept = StaleRoutes[int](120, Time())
        kept.keep("n", {A: 1})
        kept.keep("m", {})
        kept.drop("n")
        kept.replaced("n", {A})
        assert list(kept.all()) == []

    @pytest.mark.parametrize(
        ("notification", "goodbye"),
        [
            (None, False),
            ((4, 0), False),  # hold timer expired
            ((6, 4), False),  # administrative reset
            ((6, 2), True),  # administrative shutdown
            ((6, 3), True),  # peer de-configured
            ((6, 1), True),  # too many prefixes
            ((3, 1), True),  # malformed UPDATE
            ((2, 3), True),  # wrong speaker
        ],
    )
    def test_who_says_goodbye_means_it(self, notification: tuple[int, int] | None, goodbye: bool) -> None:
        assert is_goodbye(notification) is goodbye


def marks(node: Node) -> dict[str, tuple[bool, bool]]:
    """Return by prefix whether the route is best, and stale."""
    return {str(each.prefix): (each.best, each.stale) for each in node.last.routes}


async def fabric(nodes: Nodes, **options: object) -> tuple[Node, Node, Node]:
    """Return a reflector and two leaves; `one` has learned B of `two`."""
    rr, one, two = await pair(nodes, (A, B), **options)
    await one.announce(A)
    await two.announce(B)
    await until(lambda: B in one.learned() and A in two.learned(), "announced")
    return rr, one, two


@pytest.mark.live
class TestSpeakers:
    async def test_a_reflector_whose_speaker_is_killed_takes_no_route_away(self, nodes: Nodes) -> None:
        rr, one, two = await fabric(nodes)
        best: list[bool] = []
        watching = asyncio.create_task(self._watch(one, best))
        os.kill(await rr.pid(), signal.SIGKILL)
        await until(lambda: marks(one) == {B: (True, True)}, "stale")
        # The loop starts another and replays everything, as it does for any table that is empty.
        again = nodes(rr)
        await again.start()
        await again.serve(one, A)
        await again.serve(two, B)
        await until(lambda: marks(one) == {B: (True, False)}, "back", FAST.hold * 5)
        watching.cancel()
        assert best
        assert all(best), "a route was away for a moment"

    async def _watch(self, node: Node, best: list[bool]) -> None:
        while True:
            best.append(B in node.learned())
            await asyncio.sleep(0.005)

    async def test_it_goes_when_the_time_is_over(self, nodes: Nodes) -> None:
        rr, one, _ = await fabric(nodes, stale_time=timedelta(seconds=2))
        os.kill(await rr.pid(), signal.SIGKILL)
        await until(lambda: marks(one) == {B: (True, True)}, "stale")
        await until(lambda: marks(one) == {}, "over")

    async def test_what_a_neighbour_has_no_more_goes_when_it_has_announced_everything(
        self, nodes: Nodes
    ) -> None:
        """RFC 4724 section 4.2: at End-of-RIB, which a reflector says when all its leaves are back."""
        rr, one, two = await fabric(nodes)
        os.kill(await rr.pid(), signal.SIGKILL)
        await until(lambda: marks(one) == {B: (True, True)}, "stale")
        await two.withdraw(B)
        again = nodes(rr)
        await again.start()
        await again.serve(one, A)
        await again.serve(two, B)
        await until(lambda: marks(one) == {}, "over", FAST.hold * 5)

    async def test_a_neighbour_that_has_not_heard_everybody_yet_is_waited_for(self, nodes: Nodes) -> None:
        """A reflector that is back before its leaves does not say that there are no routes."""
        rr, one, two = await fabric(nodes)
        await two.leave()
        os.kill(await two.pid(), signal.SIGKILL)
        os.kill(await rr.pid(), signal.SIGKILL)
        await until(lambda: marks(one) == {B: (True, True)}, "stale")
        again = nodes(rr)
        await again.start()
        await again.serve(one, A)
        await again.serve(two, B)
        await established((one, again))
        end = time.monotonic() + 2.5 * SETTLE
        while time.monotonic() < end:
            assert marks(one) == {B: (True, True)}
            await asyncio.sleep(0.02)

    async def test_a_withdrawal_after_the_return_counts_at_once(self, nodes: Nodes) -> None:
        rr, one, two = await fabric(nodes)
        os.kill(await rr.pid(), signal.SIGKILL)
        await until(lambda: marks(one) == {B: (True, True)}, "stale")
        again = nodes(rr)
        await again.start()
        await again.serve(one, A)
        await again.serve(two, B)
        await until(lambda: marks(one) == {B: (True, False)}, "back", FAST.hold * 5)
        await two.withdraw(B)
        await until(lambda: marks(one) == {}, "withdrawn")

    async def test_who_ends_the_session_on_purpose_takes_the_routes(self, nodes: Nodes) -> None:
        """Revoked, taken down or configured away: by either end."""
        rr, one, two = await fabric(nodes)
        session = (await rr.routing.sessions.observe())[one.address]
        await put(rr.routing.sessions, one.address, None, session)
        await until(lambda: marks(one) == {}, "the neighbour said goodbye")
        session = (await two.routing.sessions.observe())[rr.address]
        await put(two.routing.sessions, rr.address, None, session)
        await until(lambda: marks(two) == {}, "we said goodbye")

    async def test_what_the_policy_no_longer_permits_is_not_kept(self, nodes: Nodes) -> None:
        rr, one, _ = await fabric(nodes)
        os.kill(await rr.pid(), signal.SIGKILL)
        await until(lambda: marks(one) == {B: (True, True)}, "stale")
        policy = (await one.routing.import_policies.observe())[rr.address]
        await put(one.routing.import_policies, rr.address, ImportPolicy(), policy)
        await until(lambda: marks(one) == {}, "not permitted")

    async def test_a_live_path_is_preferred_at_once(self, nodes: Nodes) -> None:
        """Two reflectors, one dies: its path is stale, and nobody takes it while the other lives."""
        rr, one, two = await fabric(nodes)
        other = nodes()
        await other.start()
        await other.serve(one, A)
        await other.serve(two, B)
        await one.join(other)
        await two.join(other)
        await established((one, other), (two, other))
        both = {str(rr.address), str(other.address)}
        await until(lambda: one.learned() == {B: both}, "equal paths")
        os.kill(await rr.pid(), signal.SIGKILL)
        await until(lambda: one.learned() == {B: {str(other.address)}}, "the one that lives")
        os.kill(await other.pid(), signal.SIGKILL)
        await until(lambda: one.learned() == {B: both}, "both stale: better than none")
        assert all(each.stale for each in one.last.routes)
