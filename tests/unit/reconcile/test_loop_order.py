"""The order of a pass over several tables, whichever call fails, and lanes that share nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from routerd.errors import PermanentError, ProviderError
from routerd.model.change import Change, DesiredTable
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import Binding, Loop
from routerd.reconcile.order import RANKS
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.faults import FaultPlan, every_fault
from routerd.testing.tables import FakeTable

OLD, NEW = {"old": 1, "both": 1}, {"new": 1, "both": 2}


class Told(FakeTable[str, int]):
    """Writes its calls into a story that all tables share."""

    def __init__(self, name: str, story: list[str], faults: FaultPlan) -> None:
        super().__init__(OLD, faults=faults)
        self._name = name
        self._story = story

    async def apply(self, changes: Sequence[Change[str, int]]) -> Mapping[str, ProviderError]:
        self._story += [f"{change.verb} {self._name}" for change in changes]
        return await super().apply(changes)


class World:
    def __init__(
        self, *roles: str, faults: FaultPlan | None = None, lanes: Mapping[str, str] | None = None
    ) -> None:
        self.story: list[str] = []
        plan = faults or FaultPlan()
        self.tables = {role: Told(role, self.story, plan) for role in roles}
        self.desired: Desired | None = Desired(tables={role: DesiredTable(values=NEW) for role in roles})
        self.clock = FakeClock()
        self.log = RecordingLogger()
        self.passed = 0
        self.loop = Loop(
            [
                Binding(name=role, role=role, table=table, lane=(lanes or {}).get(role, "host"))
                for role, table in self.tables.items()
            ],
            derive=lambda: self.desired,
            clock=self.clock,
            log=self.log,
            on_pass=self.note,
            jitter=lambda: 0.5,
        )

    @property
    def settled(self) -> bool:
        reports = self.loop.reports()
        return len(reports) == len(self.tables) and all(report.settled for report in reports.values())

    def note(self) -> None:
        self.passed += 1


async def test_a_pass_makes_from_the_ground_up_and_then_takes_from_the_top_down() -> None:
    world = World("routes", "sessions", "tunnels", "peers")
    await world.loop.run_once("host")
    making = [line.split()[1] for line in world.story if not line.startswith("delete")]
    taking = [line.split()[1] for line in world.story if line.startswith("delete")]
    assert making == [rank for rank in RANKS if rank in world.tables for _ in range(2)]
    assert taking == [rank for rank in reversed(RANKS) if rank in world.tables]
    assert world.story[-len(taking) :] == [f"delete {rank}" for rank in taking]


async def test_whichever_call_of_whichever_table_fails_the_end_is_right() -> None:
    sweeps = 0
    for plan in every_fault():
        world = World("tunnels", "routes", "sessions", faults=plan)
        passes = 0
        while not world.settled:
            passes += 1
            assert passes <= 3, plan.calls
            await world.loop.run_once("host")
            await world.clock.advance(2.0)
        for name, table in world.tables.items():
            assert table.content == NEW, (name, plan.calls)
        sweeps += 1
    assert sweeps > 12


async def test_nothing_is_deleted_from_any_table_while_one_word_of_it_is_missing() -> None:
    for role in RANKS:
        world = World(role)
        world.desired = Desired(tables={role: DesiredTable(values=NEW, complete=False)})
        await world.loop.run_once("host")
        assert world.tables[role].content == OLD | NEW
        assert not world.loop.reports()[role].complete


async def test_a_pass_without_a_wish_looks_at_nothing_and_is_none() -> None:
    world = World("routes")
    world.desired = None
    await world.loop.run_once("host")
    assert world.tables["routes"].observations == 0
    assert (world.passed, world.loop.passes()["host"][0]) == (0, 0)
    assert world.loop.reports() == {}


async def test_every_pass_is_told_and_counted() -> None:
    world = World("routes")
    for _ in range(3):
        await world.loop.run_once("host")
    assert world.passed == 3
    assert world.loop.passes()["host"][0] == 3


async def test_a_dry_run_is_no_pass_and_can_be_followed_by_a_real_one() -> None:
    world = World("routes", "tunnels")
    assert not await world.loop.run_once("host", dry_run=True)
    assert (world.story, world.passed) == ([], 0)
    planned = {c.verb for c in world.loop.reports()["routes"].planned}
    assert planned == {"create", "replace", "delete"}
    await world.loop.run_once("host")
    await world.loop.run_once("host")
    reports = world.loop.reports()
    assert {name: (each.settled, list(each.planned)) for name, each in reports.items()} == {
        "routes": (True, []),
        "tunnels": (True, []),
    }


async def test_what_a_dry_run_plans_is_what_a_real_run_makes() -> None:
    world = World("routes", "tunnels", "sessions")
    await world.loop.run_once("host", dry_run=True)
    planned = [f"{c.verb} {name}" for name, report in world.loop.reports().items() for c in report.planned]
    await world.loop.run_once("host")
    assert sorted(world.story) == sorted(planned)


async def test_a_wake_up_of_one_lane_disturbs_no_other() -> None:
    world = World("routes", "fabric-routes", lanes={"fabric-routes": "fabric/aws"})
    assert set(world.loop.lanes) == {"host", "fabric/aws"}
    tasks = [asyncio.create_task(world.loop.run_lane(lane)) for lane in world.loop.lanes]
    await world.clock.settle()
    looked = {name: table.observations for name, table in world.tables.items()}
    world.loop.wake("fabric/aws")
    await world.clock.settle()
    assert world.tables["routes"].observations == looked["routes"]
    assert world.tables["fabric-routes"].observations == looked["fabric-routes"] + 1
    for task in tasks:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_permanent_failure_in_one_lane_is_none_of_anothers() -> None:
    world = World("routes", "fabric-routes", lanes={"fabric-routes": "fabric/aws"})
    world.tables["fabric-routes"].refusals = {"new": PermanentError("quota")}
    for lane in world.loop.lanes:
        await world.loop.run_once(lane)
    reports = world.loop.reports()
    assert reports["routes"].settled
    assert not reports["fabric-routes"].settled
    assert list(reports["fabric-routes"].pending) == ["new"]


async def test_a_wish_that_changes_during_a_pass_is_seen_by_the_next() -> None:
    world = World("routes")

    class Changing(FakeTable[str, int]):
        async def apply(self, changes: Any) -> Mapping[str, ProviderError]:
            world.desired = Desired(tables={"routes": DesiredTable(values={"later": 1})})
            world.loop.wake()
            return await super().apply(changes)

    table = Changing(OLD)
    world.loop = Loop(
        [Binding(name="routes", role="routes", table=table)],
        derive=lambda: world.desired,
        clock=world.clock,
        log=world.log,
    )
    task = asyncio.create_task(world.loop.run_lane("host"))
    for _ in range(4):
        await world.clock.settle()
    assert table.content == {"later": 1}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
