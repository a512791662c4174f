"""What a table knows it would refuse is not tried, is told, and is tried once nothing stands in its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from routerd.errors import PermanentError, ProviderError
from routerd.model.change import Change, DesiredTable
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import Binding, Loop
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.tables import FakeTable


class Limited(FakeTable[str, int]):
    """Has room for so many keys, and says so beforehand."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.asked: list[list[str]] = []

    def foresee(self, changes: Sequence[Change[str, int]]) -> Mapping[str, ProviderError]:
        free = self.room - len(self.content) + sum(change.verb == "delete" for change in changes)
        creations = [change.key for change in changes if change.verb == "create"]
        return {key: PermanentError(f"holds {self.room} of {self.room}") for key in creations[max(free, 0) :]}

    async def apply(self, changes: Sequence[Change[str, int]]) -> Mapping[str, ProviderError]:
        self.asked.append([change.key for change in changes])
        return await super().apply(changes)


class World:
    """A limited table and a loop that wants `wanted` in it."""

    def __init__(self, room: int) -> None:
        self.clock = FakeClock()
        self.log = RecordingLogger()
        self.table = Limited(room)
        self.wanted: dict[str, int] = {"a": 1, "b": 1, "c": 1}
        self.loop = Loop(
            [Binding(name="cloud", role="fabric-routes", table=self.table, quiet=300.0)],
            derive=lambda: Desired(tables={"cloud": DesiredTable(values=dict(self.wanted))}),
            clock=self.clock,
            log=self.log,
            jitter=lambda: 0.5,
        )

    async def passes(self, count: int = 3) -> None:
        for _ in range(count):
            await self.loop.run_once("host")

    @property
    def report(self) -> Any:
        return self.loop.reports()["cloud"]


@pytest.fixture
def world() -> World:
    return World(room=2)


async def test_what_is_refused_beforehand_is_never_applied(world: World) -> None:
    await world.passes()
    assert world.table.content == {"a": 1, "b": 1}
    assert world.table.asked == [["a", "b"]]


async def test_it_is_pending_with_its_reason_and_logged_once(world: World) -> None:
    await world.passes(5)
    assert {key: str(each.error) for key, each in world.report.pending.items()} == {"c": "holds 2 of 2"}
    assert not world.report.settled
    assert world.log.events("warning") == ["cloud.route.create.failed"]


async def test_it_does_not_keep_the_loop_busy(world: World) -> None:
    await world.passes(5)
    reads = world.table.observations
    await world.passes(5)
    assert world.table.observations == reads
    assert world.loop._lanes["host"]._pause() > 100


async def test_it_is_made_as_soon_as_there_is_room_without_waiting_for_its_pause(world: World) -> None:
    await world.passes()
    del world.wanted["a"]
    await world.passes()
    assert world.table.content == {"b": 1, "c": 1}
    assert world.report.settled


async def test_it_is_asked_again_after_its_pause(world: World) -> None:
    await world.passes()
    world.table.room = 3
    await world.clock.advance(400.0)
    await world.passes()
    assert world.table.content == {"a": 1, "b": 1, "c": 1}


async def test_a_plan_shows_it_apart_from_what_would_be_made(world: World) -> None:
    await world.loop.run_once("host", dry_run=True)
    assert [change.key for change in world.report.planned] == ["a", "b"]
    assert [(change.key, str(error)) for change, error in world.report.refused] == [("c", "holds 2 of 2")]
    assert world.table.content == {}


async def test_what_needs_the_room_of_a_deletion_is_made_after_it_and_the_rest_before(world: World) -> None:
    world.wanted = {"a": 1, "b": 1}
    await world.passes()
    world.table.room = 3
    world.wanted = {"b": 1, "c": 1, "d": 1}
    world.table.asked.clear()
    await world.passes(1)
    assert world.table.asked == [["c"], ["a"], ["d"]]
    assert world.table.content == {"b": 1, "c": 1, "d": 1}
    await world.passes()
    assert world.report.settled
