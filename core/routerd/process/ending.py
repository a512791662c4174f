"""The end of the process, also when a task does not end."""

import asyncio
import os

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
