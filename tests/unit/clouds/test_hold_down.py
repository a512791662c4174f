"""What is needed no longer stays for a time: a route that is gone for a moment never touches the cloud."""

from __future__ import annotations

from typing import Any

import pytest

from routerd.clouds.hold_down import HoldDown
from routerd.clouds.policy import CloudPolicy
from routerd.errors import PermanentError
from routerd.model.change import Change, DesiredTable
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import RESYNC, Binding, Loop
from routerd.report.reasons import held
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.tables import FakeTable

SECONDS = 60.0
QUIET = 300.0


def deletion(key: str) -> Change[str, int]:
    return Change(key=key, before=1, after=None)


class TestPure:
    def test_a_deletion_waits_and_nothing_else_does(self) -> None:
        hold_down = HoldDown(SECONDS)
        made = Change[str, int](key="b", before=None, after=1)
        assert hold_down.filtered([deletion("a"), made], 10.0) == [made]
        assert hold_down.ends == 70.0
        assert hold_down.filtered([deletion("a")], 69.9) == []
        assert hold_down.filtered([deletion("a")], 70.0) == [deletion("a")]
        assert hold_down.ends is None

    def test_what_was_wanted_in_between_waits_anew(self) -> None:
        hold_down = HoldDown(SECONDS)
        hold_down.filtered([deletion("a")], 0.0)
        hold_down.filtered([], 50.0)
        assert hold_down.ends is None
        assert hold_down.filtered([deletion("a")], 60.0) == []
        assert hold_down.ends == 120.0

    def test_without_seconds_nothing_waits(self) -> None:
        hold_down = HoldDown(0.0)
        assert hold_down.filtered([deletion("a")], 5.0) == [deletion("a")]
        assert hold_down.ends is None


class Gate:
    """Lets every change through, or none."""

    def __init__(self, *, opened: bool) -> None:
        self._opened = opened

    def __call__(self, change: object) -> bool:
        return self._opened

    def noticed(self, changes: object, complete: bool) -> None:
        pass


class World:
    """A table with a hold-down that is read every five minutes, as a cloud's, and what is desired of it."""

    def __init__(self, *, hold_down: float = SECONDS, opened: bool = True, **more: Any) -> None:
        self.clock = FakeClock()
        self.table = FakeTable()
        policy = CloudPolicy(self.table, gate=Gate(opened=opened), hold_down=hold_down)
        self.wanted: dict[Any, Any] = {"a": 1, "b": 1}
        self.loop = Loop(
            [
                Binding(
                    name="cloud",
                    role="fabric-routes",
                    table=self.table,
                    policy=policy,
                    **{"quiet": QUIET, **more},
                )
            ],
            derive=lambda: Desired(tables={"cloud": DesiredTable(values=dict(self.wanted))}),
            clock=self.clock,
            log=RecordingLogger(),
            jitter=lambda: 0.5,
        )

    async def passes(self, after: float = 0.0) -> None:
        if after:
            await self.clock.advance(after)
        for _ in range(10):
            if not await self.loop.run_once("host"):
                return
        pytest.fail("the loop does not come to rest")

    def report(self) -> Any:
        return self.loop.reports()["cloud"]


@pytest.fixture
async def world() -> World:
    made = World()
    await made.passes()
    assert made.table.content == {"a": 1, "b": 1}
    return made


async def test_what_comes_back_in_time_was_never_touched(world: World) -> None:
    writes = len(world.table.writes)
    del world.wanted["a"]
    await world.passes()
    await world.passes(SECONDS - 1)
    world.wanted["a"] = 1
    await world.passes()
    await world.passes(SECONDS)
    assert world.table.content == {"a": 1, "b": 1}
    assert len(world.table.writes) == writes


async def test_what_stays_away_is_removed_when_the_time_is_over(world: World) -> None:
    """At once then, although the table would not be read again for minutes."""
    del world.wanted["a"]
    await world.passes()
    assert world.table.content == {"a": 1, "b": 1}
    lane = world.loop._lanes["host"]
    assert lane._pause() == SECONDS < min(QUIET, RESYNC)
    await world.passes(SECONDS)
    assert world.table.content == {"b": 1}
    assert world.report().held == 0


async def test_while_it_waits_everything_is_as_desired_and_it_is_noted(world: World) -> None:
    del world.wanted["a"]
    await world.passes()
    report = world.report()
    assert (report.settled, report.held, report.surplus) == (True, 1, 0)
    assert held([report]) == ["cloud: 1 no longer needed, kept until the hold-down is over"]


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "only planned"])
async def test_a_deletion_that_is_not_made_does_not_keep_the_loop_busy(refused: bool) -> None:
    """After its time it is as any other change that waits: the cloud is not read again and again."""
    world = World(opened=refused)
    world.table.content = {"a": 1, "b": 1}
    await world.passes()
    del world.wanted["a"]
    if refused:
        world.table.refusals["a"] = PermanentError("not permitted")
    await world.passes()
    await world.passes(SECONDS)
    assert world.table.content == {"a": 1, "b": 1}
    reads = world.table.observations
    for _ in range(5):
        await world.passes(1.0)
    assert world.table.observations == reads
    assert world.loop._lanes["host"]._pause() > 10


async def test_what_has_another_value_is_replaced_at_once(world: World) -> None:
    world.wanted["a"] = 2
    await world.passes()
    assert world.table.content == {"a": 2, "b": 1}


async def test_a_dry_run_shows_what_is_done_in_the_end(world: World) -> None:
    del world.wanted["a"]
    await world.loop.run_once("host", dry_run=True)
    assert [(change.verb, change.key) for change in world.report().planned] == [("delete", "a")]
    assert world.table.content == {"a": 1, "b": 1}
