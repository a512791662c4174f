"""Tasks: what is shown of a failure and for how long, and that no coroutine is left behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator

import pytest

from routerd.process.supervisor import Supervisor
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger


class Scene:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = RecordingLogger()
        self.supervisor = Supervisor(clock=self.clock, log=self.log)
        self.starts: list[float] = []

    async def fails_once(self) -> None:
        self.starts.append(self.clock.monotonic())
        if len(self.starts) == 1:
            raise OSError("no")
        await self.clock.sleep(1e9)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.supervisor.aclose()


async def test_a_failure_is_not_shown_for_ever_once_the_task_runs_again(scene: Scene) -> None:
    scene.supervisor.keep("lane", scene.fails_once)
    await scene.clock.advance(2)
    assert scene.supervisor.failures == {"lane": "OSError: no"}
    await scene.clock.advance(70)
    assert scene.supervisor.failures == {}
    assert scene.supervisor.running("lane")


async def test_a_failure_is_shown_as_long_as_the_task_goes_on_failing(scene: Scene) -> None:
    async def bad() -> None:
        raise OSError("no")

    scene.supervisor.keep("bad", bad)
    await scene.clock.advance(1000)
    assert scene.supervisor.failures == {"bad": "OSError: no"}


async def test_a_task_that_failed_for_good_is_shown_for_ever(scene: Scene) -> None:
    async def bad() -> None:
        raise OSError("no")

    scene.supervisor.spawn("bad", bad())
    await scene.clock.advance(1000)
    assert scene.supervisor.failures == {"bad": "OSError: no"}


async def test_the_pause_grows_to_a_minute_and_is_short_again_after_a_long_run(scene: Scene) -> None:
    starts: list[float] = []

    async def work() -> None:
        starts.append(scene.clock.monotonic())
        if len(starts) == 10:
            await scene.clock.sleep(100)
        raise OSError("no")

    scene.supervisor.keep("work", work)
    await scene.clock.advance(600)
    pauses = [late - early for early, late in itertools.pairwise(starts)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[9:11] == [101, 2]


async def test_a_task_that_ends_by_itself_is_made_again(scene: Scene) -> None:
    starts: list[float] = []

    async def work() -> None:
        starts.append(scene.clock.monotonic())

    scene.supervisor.keep("work", work)
    await scene.clock.advance(3)
    assert starts == [0, 1, 3]
    assert scene.supervisor.failures == {}


async def test_a_name_is_taken_while_its_task_runs_and_the_refused_work_is_closed(scene: Scene) -> None:
    scene.supervisor.keep("work", scene.fails_once)
    work = scene.fails_once()
    with pytest.raises(ValueError, match="work is running already"):
        scene.supervisor.spawn("work", work)
    del work
    gc.collect()  # would say that the coroutine was never awaited


async def test_work_that_is_cancelled_before_it_began_is_closed(scene: Scene) -> None:
    scene.supervisor.spawn("work", scene.fails_once())
    await scene.supervisor.aclose()
    gc.collect()  # as above
    assert scene.starts == []


async def test_a_cancelled_task_is_no_failure_and_its_name_is_free(scene: Scene) -> None:
    scene.supervisor.spawn("work", scene.clock.sleep(1000))
    await scene.clock.settle()
    await scene.supervisor.cancel("work")
    assert not scene.supervisor.running("work")
    assert scene.supervisor.failures == {}
    await scene.supervisor.cancel("work")


async def test_a_task_that_ignores_its_end_holds_up_nobody(scene: Scene) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    scene.supervisor.spawn("stubborn", stubborn())
    await scene.clock.settle()
    await scene.supervisor.cancel("stubborn", deadline=0.01)
    assert "task=stubborn" in scene.log.text()
    release.set()
    await scene.clock.settle()
