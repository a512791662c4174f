"""The end of the process: only the main task ends it, and no other task keeps it."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from routerd.process.watchdog import Watchdog
from routerd.spi import Logger

DEADLINE = 5.0
"""Seconds that the remaining tasks have to end."""


async def end_tasks(log: Logger, *, deadline: float = DEADLINE) -> None:
    """End every other task of the loop. If one is deaf to that, name it in the log and end the process.

    The caller has nothing left to do but return: everything is on the disk, and status 0 is right. Without
    this, the loop would wait for a deaf task until somebody kills the process.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if not others:
        return
    for task in others:
        task.cancel()
    _, deaf = await asyncio.wait(others, timeout=deadline)
    if deaf:
        names = ", ".join(sorted(task.get_name() for task in deaf))
        log.error("task.left", tasks=names, seconds=deadline)
        os._exit(0)


def run_to_end(main: Coroutine[Any, Any, None], watchdog: Watchdog) -> None:  # Any: unused by a task
    """Run the main task as `asyncio.run` does, but to its own end.

    A task or callback that a plugin made by itself, and that calls sys.exit, would end the event loop: the
    watchdog notes it, and the loop goes on.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main, name="main")
        while True:
            try:
                loop.run_until_complete(task)
            except SystemExit as error:
                if task.done():
                    raise
                watchdog.note_exit(error)
            else:
                return
