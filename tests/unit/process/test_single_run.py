"""A command ends, with its own status, whatever a plugin does in it; the log names the plugin."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

import pytest

from routerd.process import ending, single_run
from routerd.process.single_run import SingleRun
from routerd.testing.context import RecordingLogger

OWNERS = {__name__.partition(".")[0]: "odd"}


class Scene:
    """A run with an end that only a test sees."""

    def __init__(self, limit: float = 60.0) -> None:
        self.log, self.ends = RecordingLogger(), list[int]()
        self.ended = threading.Event()
        self.run = SingleRun(self.log, OWNERS, limit=limit, end=self._end)

    def _end(self, status: int) -> None:
        self.ends.append(status)
        self.ended.set()

    def facts(self, event: str) -> dict[str, object]:
        (entry,) = [each for each in self.log.entries if each.event == event]
        return dict(entry.facts)


async def answers() -> int:
    return 42


def test_the_result_is_that_of_the_work_and_nothing_is_left() -> None:
    scene = Scene()
    assert scene.run.run(answers()) == 42
    assert scene.run.call(lambda: 43) == 43
    scene.run.leave(0)
    assert scene.ends == []
    assert scene.log.entries == []


@pytest.mark.parametrize("awaits", [False, True])
def test_a_plugin_that_does_not_return_ends_the_command_and_is_named(awaits: bool) -> None:
    scene = Scene(limit=0.2)

    def blocks() -> None:
        assert scene.ended.wait(60)

    async def work() -> None:
        blocks()

    if awaits:
        scene.run.run(work())
    else:
        scene.run.call(blocks)
    assert scene.ends == [1]
    facts = scene.facts("process.blocked")
    assert facts["plugin"] == "odd"
    assert "in blocks" in str(facts["frame"])


def test_the_errors_of_the_work_are_those_of_the_command() -> None:
    async def fails() -> None:
        raise ValueError("x")

    async def leaves() -> None:
        sys.exit(5)

    scene = Scene()
    with pytest.raises(ValueError, match="x"):
        scene.run.run(fails())
    with pytest.raises(SystemExit):
        scene.run.run(leaves())


def test_a_task_that_ignores_its_end_does_not_keep_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "DEADLINE", 0.02)
    scene, kept, started = Scene(), list[bool](), list[asyncio.Task[None]]()

    async def deaf() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if kept:
                    return
                kept.append(True)

    async def work() -> str:
        started.append(asyncio.create_task(deaf(), name="odd deaf"))
        asyncio.get_running_loop().call_soon(sys.exit, 9)
        await asyncio.sleep(0)
        return "done"

    assert scene.run.run(work()) == "done"
    assert scene.facts("task.left")["tasks"] == "odd deaf"
    assert "task.exit" in scene.log.events("error")
    scene.run.leave(3)
    assert scene.ends == [3]
    (loop,) = scene.run._left
    (task,) = started
    task.cancel()
    loop.run_until_complete(asyncio.wait({task}))
    loop.close()


def test_a_thread_that_does_not_end_does_not_keep_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_run, "THREAD_SECONDS", 0.02)
    scene, over = Scene(), threading.Event()

    def sleeps() -> None:
        over.wait()

    thread = threading.Thread(target=sleeps, name="odd thread")
    scene.run.call(thread.start)
    scene.run.leave(2)
    assert scene.ends == [2]
    threads = str(scene.facts("process.left")["threads"])
    assert threads.startswith("odd thread (plugin odd) at ")
    over.set()
    thread.join()
    scene.run.leave(0)
    assert scene.ends == [2]


def test_another_program_keeps_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_run, "THREAD_SECONDS", 0.0)
    scene, over = Scene(), threading.Event()
    thread = threading.Thread(target=over.wait)
    scene.run.call(thread.start)
    inside = threading.Thread(target=scene.run.leave, args=[0])
    inside.start()
    inside.join()
    assert scene.ends == []
    over.set()
    thread.join()


def test_an_interrupt_ends_the_work_which_cleans_up() -> None:
    scene, cleaned = Scene(), []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        scene.run.run(work())
    assert cleaned == [True]
