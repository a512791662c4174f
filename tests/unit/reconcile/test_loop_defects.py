"""What a plugin or the world may do wrong without stopping the loop, its lane or its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from routerd.clouds.policy import CloudPolicy
from routerd.errors import PermanentError, ProviderError, StoreError, TransientError, UnsupportedError
from routerd.model.change import DesiredTable
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import Binding, Loop
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.faults import FaultPlan
from routerd.testing.tables import FakeTable

Content = Mapping[Any, Any]


class Gate:
    """Lets every change through, or none."""

    def __init__(self, *, opened: bool) -> None:
        self._opened = opened

    def __call__(self, change: object) -> bool:
        return self._opened

    def noticed(self, changes: object, complete: bool) -> None:
        pass


class Scene:
    """A table under test called `odd`, a sound one above it called `sound`, and a loop over both."""

    def __init__(self, odd: Any, **binding: Any) -> None:
        self.odd = odd
        self.sound: FakeTable[str, int] = FakeTable()
        self.clock = FakeClock()
        self.log = RecordingLogger()
        self.wanted: dict[str, DesiredTable] = {}
        self.loop = Loop(
            [
                Binding(name="odd", role="tunnels", table=odd, **binding),
                Binding(name="sound", role="routes", table=self.sound),
            ],
            derive=lambda: Desired(tables=dict(self.wanted)),
            clock=self.clock,
            log=self.log,
            jitter=lambda: 0.5,
        )
        self.want({"a": 1})
        self.wanted["sound"] = DesiredTable(values={"b": 2})

    def want(self, values: Content, *, complete: bool = True) -> None:
        self.wanted["odd"] = DesiredTable(values=values, complete=complete)

    async def one_pass(self) -> bool:
        return await self.loop.run_once("host")

    @property
    def error(self) -> str:
        """What the report of the table under test says is wrong with it."""
        report = self.loop.reports()["odd"]
        return report.error or " ".join(str(each.error) for each in report.pending.values())


class Answers(FakeTable[str, int]):
    """Gives whatever answer it was made with."""

    def __init__(self, *, observe: Any = None, apply: Any = None, agrees: Any = None) -> None:
        super().__init__()
        self._observe = observe
        self._apply = apply
        if agrees is not None:
            self.agrees: Callable[[int, int], bool] = agrees

    async def observe(self) -> Any:
        return await super().observe() if self._observe is None else self._observe()

    async def apply(self, changes: Any) -> Any:
        return await super().apply(changes) if self._apply is None else self._apply()


def broken(*_: object) -> bool:
    raise ZeroDivisionError("in agrees")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (Answers(observe=lambda: None), "observe returned None"),
        (Answers(observe=lambda: ["a"]), "observe returned"),
        (Answers(apply=lambda: None), "apply returned None"),
        (Answers(apply=lambda: ["a"]), "apply returned"),
        (Answers(apply=lambda: {"a": "no"}), "no"),
        (Answers(apply=lambda: {"a": OSError("no device")}), "no device"),
        (Answers(observe=lambda: {"a": 3}, agrees=broken), "in agrees"),
        (Answers(observe=lambda: 1 // 0), "ZeroDivisionError"),
    ],
)
async def test_an_answer_of_the_wrong_kind_stops_no_other_table(table: Any, words: str) -> None:
    scene = Scene(table)
    await scene.one_pass()
    assert scene.sound.content == {"b": 2}
    assert words in scene.error
    assert not scene.loop.reports()["odd"].settled
    assert scene.log.events("error")


async def test_a_deletable_filter_that_cannot_be_asked_deletes_nothing_and_stops_no_other() -> None:
    def unreadable(_: Hashable) -> bool:
        raise StoreError("the disk is gone")

    table: FakeTable[str, int] = FakeTable({"old": 1})
    scene = Scene(table, policy=CloudPolicy(table, gate=Gate(opened=True), permits=unreadable))
    await scene.one_pass()
    assert scene.odd.content == {"old": 1}
    assert scene.sound.content == {"b": 2}
    assert scene.error == "the disk is gone"


async def test_a_store_that_is_full_is_no_defect_of_the_table() -> None:
    class Full(FakeTable[str, int]):
        async def apply(self, changes: Any) -> Any:
            raise StoreError("the disk is full")

    scene = Scene(Full())
    for _ in range(3):
        await scene.one_pass()
        await scene.clock.advance(300)
    assert scene.error == "the disk is full"
    assert scene.log.events("error") == []
    assert scene.log.events("warning") == ["tunnel.create.failed"]


class Forgetful(FakeTable[str, int]):
    """Says that a change is made, and has forgotten it when asked."""

    async def apply(self, changes: Any) -> Any:
        await super().apply(changes)
        self.content.clear()
        return {}


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[None]:
    """Run the host's lane."""
    task = asyncio.create_task(scene.loop.run_lane("host"))
    await scene.clock.settle()
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_table_that_never_agrees_does_not_make_the_lane_spin() -> None:
    scene = Scene(Forgetful())
    async with running(scene):
        for _ in range(10):
            await scene.clock.settle()
        at_once = scene.odd.observations
        assert at_once <= 10
        await scene.clock.advance(60)
        assert scene.odd.observations - at_once <= 10
        assert scene.error == "does not stay as routerd made it"
    assert scene.log.events("warning") == ["tunnel.create.failed"]


async def test_a_lane_that_has_come_to_rest_is_quick_again() -> None:
    scene = Scene(Forgetful())
    async with running(scene):
        for _ in range(10):
            await scene.clock.settle()
        scene.want({})
        await scene.clock.advance(300)
        scene.wanted["sound"] = DesiredTable(values={"b": 3})
        scene.loop.wake()
        await scene.clock.settle()
        assert scene.sound.content == {"b": 3}
        looked = scene.sound.observations
        await scene.clock.advance(60)
        assert scene.sound.observations == looked


async def test_a_key_that_is_due_in_a_table_that_cannot_be_read_does_not_make_the_lane_spin() -> None:
    scene = Scene(FakeTable(refusals={"a": TransientError("not now")}))
    await scene.one_pass()
    scene.odd.faults = Always(error=UnsupportedError("gone"))
    async with running(scene):
        await scene.clock.advance(10)
        looked = scene.sound.observations
        await scene.clock.advance(100)
        assert scene.sound.observations - looked <= 1


class Always(FaultPlan):
    """Fails every call."""

    def reach(self, name: str) -> None:
        super().reach(name)
        raise self.error


async def test_a_lane_looks_again_by_itself() -> None:
    scene = Scene(FakeTable())
    async with running(scene):
        scene.odd.content.clear()
        await scene.clock.advance(119)
        assert scene.odd.content == {}
        await scene.clock.advance(2)
        assert scene.odd.content == {"a": 1}


async def test_a_failed_key_is_tried_again_when_its_pause_is_over() -> None:
    scene = Scene(FakeTable(refusals={"a": TransientError("busy", retry_after=timedelta(seconds=30))}))
    async with running(scene):
        scene.odd.refusals.clear()
        await scene.clock.advance(29)
        scene.loop.wake()
        await scene.clock.settle()
        assert scene.odd.content == {}
        await scene.clock.advance(2)
        assert scene.odd.content == {"a": 1}


async def test_the_operator_may_hurry_what_waits() -> None:
    scene = Scene(FakeTable(refusals={"a": PermanentError("forbidden")}))
    async with running(scene):
        scene.odd.refusals.clear()
        scene.loop.retry_now()
        await scene.clock.settle()
        assert scene.odd.content == {"a": 1}


@pytest.mark.parametrize(
    ("role", "error", "made"),
    [
        ("tunnels", TransientError("no such link"), {"a": 1}),
        ("tunnels", TransientError("throttled", retry_after=timedelta(seconds=30)), {}),
        ("tunnels", PermanentError("forbidden"), {}),
        ("routes", TransientError("no such link"), {}),
    ],
)
async def test_what_the_world_may_have_mended_is_tried_without_its_pause(
    role: str, error: ProviderError, made: dict[str, int]
) -> None:
    scene = Scene(FakeTable(refusals={"a": error}))
    await scene.one_pass()
    scene.odd.refusals.clear()
    scene.loop.retry_role(role)
    await scene.one_pass()
    assert scene.odd.content == made


async def test_what_is_newly_wanted_of_a_failed_key_is_tried_at_once() -> None:
    scene = Scene(FakeTable(refusals={"a": PermanentError("no such gateway")}))
    await scene.one_pass()
    scene.odd.refusals.clear()
    await scene.one_pass()
    assert scene.odd.content == {}, "the same again has to wait"
    scene.want({"a": 2})
    await scene.one_pass()
    assert scene.odd.content == {"a": 2}


async def test_another_wish_does_not_undercut_what_the_world_asked_for() -> None:
    scene = Scene(FakeTable(refusals={"a": TransientError("throttled", retry_after=timedelta(seconds=30))}))
    await scene.one_pass()
    scene.odd.refusals.clear()
    scene.want({"a": 2})
    await scene.one_pass()
    assert scene.odd.content == {}
    await scene.clock.advance(30)
    await scene.one_pass()
    assert scene.odd.content == {"a": 2}


async def test_a_quiet_table_is_read_when_its_wish_becomes_complete() -> None:
    scene = Scene(FakeTable({"a": 1, "stale": 1}), quiet=300.0)
    scene.want({"a": 1}, complete=False)
    await scene.one_pass()
    assert scene.odd.content == {"a": 1, "stale": 1}
    scene.want({"a": 1})
    await scene.one_pass()
    assert scene.odd.content == {"a": 1}


async def test_a_quiet_table_that_is_only_planned_stays_quiet() -> None:
    table: FakeTable[str, int] = FakeTable()
    scene = Scene(table, quiet=300.0, policy=CloudPolicy(table, gate=Gate(opened=False)))
    for _ in range(5):
        await scene.one_pass()
    assert scene.odd.observations == 1
    assert len(scene.loop.reports()["odd"].planned) == 1
    assert not scene.loop.reports()["odd"].settled
    await scene.clock.advance(301)
    await scene.one_pass()
    assert scene.odd.observations == 2


async def test_a_hurried_table_is_not_quiet() -> None:
    scene = Scene(FakeTable(), quiet=300.0)
    await scene.one_pass()
    scene.odd.content.clear()
    scene.loop.retry_now()
    await scene.one_pass()
    assert scene.odd.content == {"a": 1}


async def test_a_table_is_not_settled_while_something_waits_to_be_deleted() -> None:
    seen: list[bool] = []

    class Watched(FakeTable[str, int]):
        async def apply(self, changes: Any) -> Any:
            seen.append(scene.loop.reports()["odd"].settled)
            return await super().apply(changes)

    scene = Scene(Watched())
    await scene.one_pass()
    scene.want({})
    await scene.one_pass()
    assert seen == [False, False], "making, then deleting"
    assert scene.loop.reports()["odd"].settled
    assert await scene.odd.observe() == {}
