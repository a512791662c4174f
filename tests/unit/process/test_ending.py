"""The process ends, also when a task does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from routerd.process.ending import end_tasks
from routerd.testing.context import RecordingLogger

DEAF = """
import asyncio, sys
from routerd.process.ending import end_tasks
from routerd.process.log import Log

async def deaf():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue

async def main():
    task = asyncio.create_task(deaf(), name="join method odd verify")
    await asyncio.sleep(0)
    await end_tasks(Log(), deadline=0.1)

asyncio.run(main())
"""


async def test_tasks_that_listen_are_ended_and_waited_for() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    tasks = [asyncio.create_task(work()) for _ in range(3)]
    await asyncio.sleep(0)
    log = RecordingLogger()
    await end_tasks(log)
    assert ended == [True] * 3
    assert all(task.cancelled() for task in tasks)
    assert log.entries == []
    await end_tasks(log)  # with none left


def test_a_deaf_task_is_named_and_does_not_keep_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEAF], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "task.left" in done.stderr
    assert "join method odd verify" in done.stderr
