"""The only loop: what it may delete, what it may not delay, and that it comes to rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from routerd.clouds.policy import CloudPolicy
from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import Change, DesiredTable
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import Binding, Loop
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.faults import FaultPlan, every_fault
from routerd.testing.tables import FakeTable


class Gate:
    """Lets every change through, or none."""

    def __init__(self, *, opened: bool) -> None:
        self._opened = opened

    def __call__(self, change: object) -> bool:
        return self._opened

    def noticed(self, changes: object, complete: bool) -> None:
        pass


class World:
    """Tables, what is desired of them, and a loop over both."""

    def __init__(self, **tables: Any) -> None:
        self.tables = tables
        self.desired: Desired | None = Desired()
        self.clock = FakeClock()
        self.log = RecordingLogger()
        self.loop = Loop([], derive=lambda: self.desired, clock=self.clock, log=self.log, jitter=lambda: 0.5)

    def bind(self, name: str, role: str = "routes", **more: Any) -> None:
        self.loop.bind(Binding(name=name, role=role, table=self.tables[name], **more))

    def bind_cloud(self, name: str, *, opened: bool = True, **more: Any) -> None:
        self.bind(name, policy=CloudPolicy(self.tables[name], gate=Gate(opened=opened), **more))

    def want(self, **tables: Mapping[Any, Any] | DesiredTable) -> None:
        wanted = {
            name: each if isinstance(each, DesiredTable) else DesiredTable(values=each)
            for name, each in tables.items()
        }
        self.desired = Desired(tables=wanted)

    async def settle(self, lane: str = "host") -> int:
        """Make passes until one changes nothing; return how many changed something."""
        for count in range(20):
            if not await self.loop.run_once(lane):
                return count
        pytest.fail("the loop does not come to rest")


@pytest.fixture
def world() -> World:
    made = World(one=FakeTable(), two=FakeTable())
    made.bind("one", "tunnels")
    made.bind("two", "routes")
    return made


async def test_while_claims_are_still_to_come_back_nothing_is_deleted(world: World) -> None:
    """Also in a table of which nothing is desired at all."""
    world.want(one={"a": 1}, two={"b": 2})
    await world.settle()
    world.desired = Desired(tables={"one": DesiredTable(values={"c": 3})}).deleting_nothing()
    await world.settle()
    assert world.tables["one"].content == {"a": 1, "c": 3}
    assert world.tables["two"].content == {"b": 2}
    world.want(one={"c": 3})
    await world.settle()
    assert (world.tables["one"].content, world.tables["two"].content) == ({"c": 3}, {})


async def test_the_second_pass_writes_nothing(world: World) -> None:
    world.want(one={"a": 1}, two={"b": 2})
    assert await world.settle() == 1
    assert world.tables["one"].content == {"a": 1}
    assert [len(table.writes) for table in world.tables.values()] == [1, 1]
    settled = {name: report.settled for name, report in world.loop.reports().items()}
    assert settled == {"one": True, "two": True}


async def test_a_report_counts_what_its_pass_made(world: World) -> None:
    world.tables["one"].content = {"old": 1}
    world.want(one={"a": 1, "b": 2})
    await world.loop.run_once("host")
    report = world.loop.reports()["one"]
    assert (report.desired, report.observed, report.in_sync) == (2, 2, 2)


async def test_nothing_is_deleted_while_nothing_is_known(world: World) -> None:
    world.tables["one"].content = {"a": 1}
    world.desired = None
    assert not await world.loop.run_once("host")
    world.want(one=DesiredTable(values={"b": 2}, complete=False))
    await world.settle()
    assert world.tables["one"].content == {"a": 1, "b": 2}
    world.want(one={"b": 2})
    await world.settle()
    assert world.tables["one"].content == {"b": 2}


async def test_a_table_that_is_not_mentioned_is_emptied(world: World) -> None:
    world.tables["two"].content = {"left": 1}
    world.want(one={"a": 1})
    await world.settle()
    assert world.tables["two"].content == {}


async def test_a_failing_key_waits_and_its_neighbours_proceed(world: World) -> None:
    world.tables["one"].refusals = {"bad": TransientError("not now")}
    world.want(one={"bad": 1, "good": 2})
    await world.settle()
    assert world.tables["one"].content == {"good": 2}
    report = world.loop.reports()["one"]
    assert not report.settled
    assert str(report.pending["bad"].error) == "not now"
    del world.tables["one"].refusals["bad"]
    await world.settle()
    assert "bad" not in world.tables["one"].content, "it was tried again before its pause was over"
    await world.clock.advance(1.0)
    await world.settle()
    assert world.tables["one"].content == {"bad": 1, "good": 2}


async def test_the_same_failure_is_logged_once(world: World) -> None:
    world.tables["one"].refusals = {"bad": PermanentError("never")}
    world.want(one={"bad": 1})
    for _ in range(3):
        await world.loop.run_once("host")
        await world.clock.advance(300.0)
    assert world.log.events("warning") == ["tunnel.create.failed"]


async def test_whichever_call_fails_the_end_is_right() -> None:
    sweeps = 0
    for plan in every_fault():
        sweeps += 1
        world = World(one=FakeTable({"old": 1, "same": 1}, faults=plan))
        world.bind("one")
        world.want(one={"same": 2, "new": 3})
        await world.settle()
        await world.clock.advance(5.0)
        await world.settle()
        assert world.tables["one"].content == {"same": 2, "new": 3}, plan.calls
    assert sweeps > 3


async def test_a_table_that_cannot_be_read_is_not_changed(world: World) -> None:
    world.tables["one"].content = {"old": 1}
    world.tables["one"].faults = FaultPlan(1, TransientError("no answer"))
    world.want(one={"new": 1}, two={"b": 2})
    await world.loop.run_once("host")
    assert world.tables["one"].content == {"old": 1}
    assert world.tables["two"].content == {"b": 2}
    report = world.loop.reports()["one"]
    assert (report.readable, report.error) == (False, "no answer")
    assert not report.settled


class Hanging(FakeTable[str, int]):
    """Never answers."""

    async def observe(self) -> Mapping[str, int]:
        await asyncio.Event().wait()
        raise AssertionError


class Defective(FakeTable[str, int]):
    """Has a defect."""

    async def apply(self, changes: Sequence[Change[str, int]]) -> Mapping[str, ProviderError]:
        raise KeyError("a defect")


async def test_a_table_that_hangs_meets_its_deadline() -> None:
    world = World(one=Hanging(), two=FakeTable())
    world.bind("one", "tunnels", deadline=0.01)
    world.bind("two")
    world.want(one={"a": 1}, two={"b": 2})
    await world.loop.run_once("host")
    assert world.tables["two"].content == {"b": 2}
    assert "no answer within 0.01 s" in world.loop.reports()["one"].error


async def test_a_defect_is_named_and_stops_nobody() -> None:
    world = World(one=Defective(), two=FakeTable())
    world.bind("one", "tunnels")
    world.bind("two")
    world.want(one={"a": 1}, two={"b": 2})
    await world.loop.run_once("host")
    assert world.tables["two"].content == {"b": 2}
    assert "a defect" in str(world.loop.reports()["one"].pending["a"].error)
    assert world.log.events("error") == ["table.apply.defect"]


async def test_a_dry_run_says_what_and_does_nothing(world: World) -> None:
    world.tables["one"].content = {"old": 1}
    world.want(one={"new": 2})
    await world.loop.run_once("host", dry_run=True)
    assert world.tables["one"].content == {"old": 1}
    assert [(c.verb, c.key) for c in world.loop.reports()["one"].planned] == [
        ("create", "new"),
        ("delete", "old"),
    ]


async def test_a_table_that_may_not_be_changed_is_planned_and_not_ready() -> None:
    world = World(one=FakeTable())
    world.bind_cloud("one", opened=False)
    world.want(one={"a": 1})
    await world.settle()
    assert world.tables["one"].content == {}
    report = world.loop.reports()["one"]
    assert len(report.planned) == 1
    assert not report.settled


async def test_only_what_the_journal_knows_is_deleted() -> None:
    world = World(one=FakeTable({"ours": 1, "unknown": 2}))
    world.bind_cloud("one", permits=lambda change: change.key == "ours")
    world.want(one={})
    await world.settle()
    assert world.tables["one"].content == {"unknown": 2}


async def test_a_quiet_table_is_read_when_the_wish_changes_or_its_time_has_come() -> None:
    world = World(one=FakeTable())
    world.bind("one", quiet=300.0)
    world.want(one={"a": 1})
    await world.settle()
    looked = world.tables["one"].observations
    for _ in range(5):
        await world.settle()
    assert world.tables["one"].observations == looked
    world.want(one={"a": 2})
    await world.settle()
    assert world.tables["one"].content == {"a": 2}
    world.tables["one"].content = {}
    await world.clock.advance(301.0)
    await world.settle()
    assert world.tables["one"].content == {"a": 2}


async def test_a_lane_that_hangs_delays_no_other() -> None:
    world = World(slow=Hanging(), fast=FakeTable())
    world.bind("slow", lane="fabric/x", deadline=1000.0)
    world.bind("fast")
    world.want(slow={"a": 1}, fast={"b": 2})
    slow = asyncio.create_task(world.loop.run_once("fabric/x"))
    await world.settle()
    assert world.tables["fast"].content == {"b": 2}
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_a_wake_up_makes_a_lane_look() -> None:
    world = World(one=FakeTable())
    world.bind("one")
    world.want(one={})
    running = asyncio.create_task(world.loop.run_lane("host"))
    await world.clock.settle()
    world.want(one={"a": 1})
    world.loop.wake()
    await world.clock.settle()
    assert world.tables["one"].content == {"a": 1}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_two_tables_of_one_name_are_a_mistake(world: World) -> None:
    with pytest.raises(ValueError, match="bound twice"):
        world.bind("one")
