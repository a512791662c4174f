"""A plugin that hangs, exits or lies costs its own tables, and nothing else; fake time proves who waits."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.waiting import until_async

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import DesiredTable
from routerd.reconcile.calls import PATIENCE
from routerd.reconcile.desired import Desired
from routerd.reconcile.guard import Failed, asked, left_behind, outcome_of
from routerd.reconcile.loop import Binding, Loop
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.tables import FakeTable


class Deaf:
    """A call that ignores its cancellation until it is released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def __call__(self) -> None:
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                continue


def raising(error: BaseException) -> Callable[[], Any]:
    async def call() -> None:
        raise error

    return call


async def exits() -> None:
    sys.exit(9)


class Odd(FakeTable[str, int]):
    """A table whose calls begin with whatever a test puts in their way."""

    def __init__(self) -> None:
        super().__init__()
        self.before_observe: Callable[[], Any] | None = None
        self.before_apply: Callable[[], Any] | None = None
        self.asked = 0

    async def observe(self) -> Any:
        self.asked += 1
        if self.before_observe is not None:
            await self.before_observe()
        return await super().observe()

    async def apply(self, changes: Any) -> Any:
        if self.before_apply is not None:
            await self.before_apply()
        return await super().apply(changes)


class Scene:
    """The tunnels of plugin `odd`, those of plugin `good`, and the core's routes, in one lane."""

    def __init__(self, deadline: float = 30.0) -> None:
        self.odd, self.good, self.routes = Odd(), Odd(), Odd()
        self.clock, self.log = FakeClock(), RecordingLogger()
        self.wanted = {name: DesiredTable(values={"a": 1}) for name in ("odd", "good", "routes")}
        self.loop = Loop(
            [
                Binding(name="odd", role="tunnels", table=self.odd, plugin="odd", deadline=deadline),
                Binding(name="good", role="tunnels", table=self.good, plugin="good"),
                Binding(name="routes", role="routes", table=self.routes),
            ],
            derive=lambda: Desired(tables=dict(self.wanted)),
            clock=self.clock,
            log=self.log,
            jitter=lambda: 0.5,
        )

    async def run(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.loop.run_lane("host"))
        await self.clock.settle()
        return task

    def error(self) -> str:
        return self.loop.reports()["odd"].error


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


# --- one call ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [SystemExit(9), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit(), ValueError("x")]
)
async def test_whatever_a_call_raises_is_its_outcome(error: BaseException) -> None:
    assert await outcome_of(raising(error), name="odd", deadline=5) == Failed(error)


async def test_the_failure_of_a_call_names_the_plugin_in_the_log() -> None:
    log = RecordingLogger()
    with pytest.raises(TransientError, match=r"unexpected SystemExit\(9\)"):
        await asked(exits, log=log, table="tunnels/odd", call="observe", deadline=5, plugin="odd")
    (entry,) = log.entries
    assert (entry.level, entry.event) == ("error", "table.observe.defect")
    facts = dict(entry.facts)
    assert (facts["table"], facts["plugin"]) == ("tunnels/odd", "odd")


async def test_a_call_that_is_deaf_is_left_behind_named_and_not_repeated_until_it_ends() -> None:
    log, deaf = RecordingLogger(), Deaf()

    async def call() -> None:
        await asked(deaf, log=log, table="odd", call="observe", deadline=0.01, plugin="p")

    with pytest.raises(TransientError, match=r"no answer within 0\.01 s"):
        await call()
    assert left_behind() == ["odd: observe (plugin p)"]
    assert log.events("error") == ["call.left"]
    with pytest.raises(TransientError, match="an earlier call of observe does not end; restart routerd"):
        await call()
    deaf.released.set()
    await until_async(lambda: left_behind() == [])
    await call()


async def test_the_end_of_the_caller_waits_for_the_call_to_clean_up() -> None:
    order: list[str] = []

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("call")

    caller = asyncio.create_task(outcome_of(call, name="odd", deadline=None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    order.append("caller")
    assert order == ["call", "caller"]


async def test_a_table_is_not_changed_while_its_reading_has_not_ended() -> None:
    scene, deaf = Scene(deadline=0.01), Deaf()
    scene.odd.before_observe = deaf
    await scene.loop.run_once("host")
    await until_async(lambda: "no answer within" in scene.error())
    asked_before = scene.odd.asked
    await scene.clock.advance(300)
    await scene.loop.run_once("host")
    await until_async(lambda: "does not end" in scene.error())
    assert scene.odd.asked == asked_before
    deaf.released.set()
    await until_async(lambda: left_behind() == [])
    await scene.clock.advance(300)
    await scene.loop.run_once("host")
    assert scene.odd.content == {"a": 1}


# --- the lane ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["observe", "apply"])
async def test_a_plugin_that_hangs_delays_the_tables_of_others_by_the_patience_once(call: str) -> None:
    scene, release = Scene(), asyncio.Event()
    setattr(scene.odd, f"before_{call}", release.wait)
    task = await scene.run()
    assert scene.routes.content == {}, "the pass still waits for the plugin"
    await scene.clock.advance(PATIENCE)
    assert scene.routes.content == {"a": 1}
    assert scene.good.content == {"a": 1}
    # From now on nothing waits: a change is made without any time that passes.
    scene.wanted["routes"] = DesiredTable(values={"a": 1, "b": 2})
    scene.loop.wake("host")
    await scene.clock.advance(0.05)
    assert scene.routes.content == {"a": 1, "b": 2}
    await scene.clock.advance(10)
    assert scene.error() == f"no answer since 11 s ({call})"
    # What took so long counts when it comes, and the lane goes on with it by itself.
    release.set()
    await scene.clock.advance(0.05)
    assert scene.odd.content == {"a": 1}
    assert scene.loop.reports()["odd"].settled
    await ended(task)


async def test_a_plugin_that_hangs_at_each_call_is_waited_for_once_until_it_answers_in_time() -> None:
    scene = Scene()
    scene.odd.before_observe = lambda: scene.clock.sleep(20)
    task = await scene.run()
    await scene.clock.advance(PATIENCE)
    assert scene.routes.content == {"a": 1}
    # What it answers late counts, without a pass that waits for it. A quick change does not make it quick.
    await scene.clock.advance(19.2)
    assert scene.odd.content == {"a": 1}
    scene.wanted = {name: DesiredTable(values={"a": 2}) for name in scene.wanted}
    scene.loop.wake()
    await scene.clock.advance(0.1)
    assert scene.routes.content == {"a": 2}
    await scene.clock.advance(60)
    assert scene.odd.content == {"a": 2}
    for number in range(3):
        asked_before = scene.odd.asked
        scene.wanted["routes"] = DesiredTable(values={"a": 1, "b": number})
        scene.loop.wake()
        await scene.clock.advance(0.05)
        assert scene.routes.content == {"a": 1, "b": number}
        await scene.clock.advance(20.1)
        assert scene.odd.asked == asked_before + 1, "its reading does not lead to another one"
        assert scene.loop.reports()["odd"].settled
    # One answer in time, and the passes wait for it again.
    scene.odd.before_observe = lambda: scene.clock.sleep(PATIENCE / 2)
    scene.loop.wake()
    await scene.clock.advance(PATIENCE)
    scene.wanted = {name: DesiredTable(values={"c": 1}) for name in scene.wanted}
    scene.loop.wake()
    await scene.clock.advance(0.05)
    assert "c" not in scene.routes.content
    await scene.clock.advance(PATIENCE / 2)
    assert scene.odd.content == scene.routes.content == {"c": 1}
    await ended(task)


async def test_what_slow_plugins_answer_late_counts_without_the_core_beside_them() -> None:
    scene = Scene()
    async with scene.loop.without(["routes"]):
        pass
    for table in (scene.odd, scene.good):
        table.before_observe = lambda: scene.clock.sleep(20)
    task = await scene.run()
    await scene.clock.advance(100)
    for table in (scene.odd, scene.good):
        assert table.content == {"a": 1}
    assert scene.loop.passes()["host"][0] < 20
    await ended(task)


async def test_a_failure_in_time_gives_a_plugin_no_patience_back() -> None:
    scene, release = Scene(), asyncio.Event()

    async def fails() -> None:
        await release.wait()
        raise TransientError("no")

    scene.odd.before_observe = fails
    task = await scene.run()
    await scene.clock.advance(PATIENCE)
    release.set()
    await scene.clock.advance(5)
    assert scene.odd.asked > 2
    scene.odd.before_observe = asyncio.Event().wait
    scene.wanted["routes"] = DesiredTable(values={"b": 1})
    scene.loop.retry_now()
    await scene.clock.advance(0.05)
    assert scene.routes.content == {"b": 1}
    await ended(task)


async def test_another_provider_of_a_plugin_has_its_patience() -> None:
    scene = Scene()
    scene.odd.before_observe = asyncio.Event().wait
    task = await scene.run()
    await scene.clock.advance(PATIENCE)
    async with scene.loop.without(["odd"]):
        scene.loop.bind(Binding(name="odd", role="tunnels", table=scene.odd, plugin="odd"))
        scene.wanted = {name: DesiredTable(values={"b": 1}) for name in scene.wanted}
        scene.odd.before_observe = lambda: scene.clock.sleep(PATIENCE / 2)
    scene.loop.wake()
    await scene.clock.advance(0.05)
    assert "b" not in scene.routes.content
    await scene.clock.advance(PATIENCE / 2)
    assert scene.odd.content == scene.routes.content == {"b": 1}
    await ended(task)


async def test_news_do_not_wait_for_a_plugin_that_has_nothing_to_make() -> None:
    scene, release = Scene(), asyncio.Event()
    task = await scene.run()
    scene.odd.before_observe = release.wait
    scene.loop.wake()
    await scene.clock.advance(0.05)
    scene.wanted["routes"] = DesiredTable(values={"b": 1})
    scene.loop.wake()
    await scene.clock.advance(0.05)
    assert scene.routes.content == {"b": 1}
    # The plugin has its patience still, and what it answers counts.
    scene.odd.content["alien"] = 1
    release.set()
    await scene.clock.advance(0.05)
    assert scene.odd.content == {"a": 1}
    await ended(task)


@pytest.mark.parametrize("late", [False, True])
async def test_a_tunnel_is_made_before_its_route_whatever_wakes_the_lane(late: bool) -> None:
    """`late`: the wake-up that brings the tunnel finds its plugin at an answer that an earlier one left."""
    scene, made = Scene(), []
    task = await scene.run()
    scene.odd.before_observe = lambda: scene.clock.sleep(PATIENCE / 2)
    for name in ("odd", "routes"):

        async def note(name: str = name) -> None:
            made.append(name)

        getattr(scene, name).before_apply = note
    if late:
        scene.loop.wake()
        await scene.clock.advance(0.05)
    for name in ("odd", "routes"):
        scene.wanted[name] = DesiredTable(values={"b": 1})
    for _ in range(5):
        scene.loop.wake()
        await scene.clock.advance(0.06)
    assert made == []
    await scene.clock.advance(PATIENCE)
    # Creations, and then deletions in reverse order.
    assert made == ["odd", "routes", "routes", "odd"]
    await ended(task)


async def test_the_tables_of_one_plugin_are_called_one_after_the_other() -> None:
    scene, release = Scene(), asyncio.Event()
    scene.loop.bind(Binding(name="peers", role="peers", table=FakeTable(), plugin="odd"))
    scene.odd.before_observe = release.wait
    task = await scene.run()
    await scene.clock.advance(5)
    assert "peers" not in scene.loop.reports()
    release.set()
    await scene.clock.advance(0.05)
    assert scene.loop.reports()["peers"].settled
    await ended(task)


@pytest.mark.parametrize("call", ["observe", "apply"])
@pytest.mark.parametrize("error", [SystemExit(9), asyncio.CancelledError(), GeneratorExit()])
async def test_a_lane_survives_what_a_plugin_leaks(call: str, error: BaseException) -> None:
    scene = Scene()
    setattr(scene.odd, f"before_{call}", raising(error))
    task = await scene.run()
    assert scene.routes.content == {"a": 1}
    report = scene.loop.reports()["odd"]
    assert type(error).__name__ in (report.error or str(report.pending["a"].error))
    setattr(scene.odd, f"before_{call}", None)
    await scene.clock.advance(2)
    assert scene.odd.content == {"a": 1}
    await ended(task)


async def test_the_end_of_a_lane_ends_its_calls() -> None:
    scene, ending = Scene(), []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.append(True)

    scene.odd.before_observe = hangs
    task = await scene.run()
    await scene.clock.advance(5)
    await ended(task)
    assert ending == [True]
    assert left_behind() == []


async def test_a_dry_run_waits_for_every_table() -> None:
    scene, release = Scene(), asyncio.Event()
    scene.odd.before_observe = release.wait
    dry = asyncio.create_task(scene.loop.run_once("host", dry_run=True))
    await scene.clock.advance(20)
    assert not dry.done()
    release.set()
    assert await dry is False
    assert len(scene.loop.reports()["odd"].planned) == 1


async def test_an_error_of_a_plugin_that_has_no_text_is_a_failure_like_others() -> None:
    class Mute(PermanentError):
        def __str__(self) -> str:
            raise ZeroDivisionError

    class Late(TransientError):
        def __init__(self) -> None:
            super().__init__("no", retry_after="soon")  # type: ignore[arg-type]  # that is the defect

    for error in (Mute("x"), Late()):
        scene = Scene()
        scene.odd.before_observe = raising(error)
        await scene.loop.run_once("host")
        assert scene.routes.content == {"a": 1}
        assert type(error).__name__ in scene.error()
        assert isinstance(scene.loop.reports()["odd"].pending["(whole table)"].error, ProviderError)


class Inventing(FakeTable[str, int]):
    """A table that has another key at each reading."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted = 0

    async def observe(self) -> Any:
        return {**await super().observe(), f"invented {self.observations}": 1}

    async def apply(self, changes: Any) -> Any:
        self.deleted += sum(change.verb == "delete" for change in changes)
        return await super().apply([each for each in changes if each.verb != "delete"])


async def test_a_table_that_invents_keys_is_changed_ever_more_seldom() -> None:
    scene, odd = Scene(), Inventing()
    scene.loop.bind(Binding(name="inventing", role="tunnels", table=odd, plugin="p"))
    task = await scene.run()
    await scene.clock.advance(1)
    soon = odd.deleted
    assert 1 <= soon <= 6
    await scene.clock.advance(600)
    assert soon < odd.deleted <= soon + 14
    assert scene.log.events("warning").count("table.restless") == 1
    pending = scene.loop.reports()["inventing"].pending["(whole table)"]
    assert "has other keys at each reading" in str(pending.error)
    # What the file asks for does not wait for the pause.
    scene.wanted["inventing"] = DesiredTable(values={"a": 1})
    scene.loop.wake()
    await scene.clock.advance(0.1)
    assert odd.content == {"a": 1}
    await ended(task)
