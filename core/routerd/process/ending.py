"""The end of the process: only the main task ends it, and no other task keeps it."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from routerd.process.watchdog import Watchdog
from routerd.spi import Logger

T = TypeVar("T")

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
    """Run the main task as `asyncio.run` does, but to its own end."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        complete(loop, loop.create_task(main, name="main"), watchdog)


def complete(loop: asyncio.AbstractEventLoop, task: asyncio.Task[T], watchdog: Watchdog) -> T:
    """Run the loop until the task has ended, and return its result.

    A task or callback that a plugin made by itself, and that calls sys.exit, would end the event loop: the
    watchdog notes it, and the loop goes on.
    """
    while True:
        try:
            return loop.run_until_complete(task)
        except SystemExit as error:
            if task.done():
                raise
            watchdog.note_exit(error)


def run_single(
    work: Coroutine[Any, Any, T],  # Any: unused by a task
    log: Logger,
    watchdog: Watchdog,
    *,
    on_left: Callable[[asyncio.AbstractEventLoop], None],
) -> T:
    """Return the result of `work`; SIGINT cancels it, which raises `KeyboardInterrupt`.

    The log names tasks that do not end then. They stay in their loop, which `on_left` gets: the process can
    only end by force.
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(_watched(work, watchdog), name="main")
    if threading.current_thread() is threading.main_thread():
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return complete(loop, task, watchdog)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        deaf = complete(loop, loop.create_task(_end_others(loop)), watchdog)
        watchdog.stop()
        if deaf:
            log.error("task.left", tasks=", ".join(deaf), seconds=DEADLINE)
            on_left(loop)
        else:
            loop.close()


async def _watched(work: Coroutine[Any, Any, T], watchdog: Watchdog) -> T:  # Any: unused by a task
    watchdog.start()
    return await work


async def _end_others(loop: asyncio.AbstractEventLoop) -> list[str]:
    """End every other task; return the names of those that are deaf to that."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    others.add(asyncio.ensure_future(loop.shutdown_asyncgens()))
    _, deaf = await asyncio.wait(others, timeout=DEADLINE)
    return sorted(task.get_name() for task in deaf)
