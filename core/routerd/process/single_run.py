"""The part of a command that runs plugins; whatever they do, the command comes to its end.

What complicates this:
- The command shows its result afterwards. So what a plugin leaves behind stays there until the command
  leaves the process, with the status that follows from the result.
- A plugin may block, in a hook too; then only another thread can end the process.
- A command that loads no plugin should not load the library of event loops either.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from routerd.process import stacks

if TYPE_CHECKING:
    import asyncio

    from routerd.spi import Logger

T = TypeVar("T")

LIMIT_SECONDS = 60.0
"""Seconds without a return from a plugin's code after which a command ends; an import may take some."""

THREAD_SECONDS = 3.0
"""Seconds that the threads of plugins have to end after everything else."""


class SingleRun:
    """Runs the work of a command, and leaves its process.

    `plugins` has the name of the plugin by its top-level package.
    """

    def __init__(
        self,
        log: Logger,
        plugins: Mapping[str, str],
        *,
        limit: float = LIMIT_SECONDS,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._log = log
        self._plugins = plugins
        self._limit = limit
        self._end = end
        self._threads = set(threading.enumerate())
        self._left: list[asyncio.AbstractEventLoop] = []

    def call(self, work: Callable[[], T]) -> T:
        """Return the result of a function that loads plugins."""
        over = threading.Event()
        args = [over, threading.get_ident()]
        threading.Thread(target=self._watch, args=args, name="limit", daemon=True).start()
        try:
            return work()
        finally:
            over.set()

    def run(self, work: Coroutine[Any, Any, T]) -> T:  # Any: unused by a task
        """Return the result of `work` in an event loop; SIGINT raises `KeyboardInterrupt`."""
        from routerd.process.ending import run_single  # noqa: PLC0415 - see the module's docstring
        from routerd.process.watchdog import Watchdog  # noqa: PLC0415 - as above

        watchdog = Watchdog(self._log, blocked=self._limit, limit=self._limit, leave=self._end)
        watchdog.plugins = self._plugins
        return run_single(work, self._log, watchdog, on_left=self._left.append)

    def _watch(self, over: threading.Event, caller: int) -> None:
        """End the process with status 1 when the caller remains in the code of one plugin for too long."""
        since, before = time.monotonic(), ""
        while not over.wait(self._limit / 60):
            plugin, where = stacks.owner(stacks.outwards(stacks.of_thread(caller)), self._plugins)
            if not plugin or plugin != before:
                since, before = time.monotonic(), plugin
            seconds = time.monotonic() - since
            if seconds >= self._limit:
                self._log.error("process.blocked", plugin=plugin, seconds=round(seconds), frame=where)
                self._end(1)
                return

    def leave(self, status: int) -> None:
        """End the process if something would keep it from its end, and name that; else return.

        Outside of the main thread the process belongs to another program, and does not end.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        end = time.monotonic() + THREAD_SECONDS
        started = [each for each in threading.enumerate() if each not in self._threads and not each.daemon]
        for thread in started if not self._left else ():
            thread.join(max(0.0, end - time.monotonic()))
        running = [thread for thread in started if thread.is_alive()]
        if not (running or self._left):
            return
        if running:
            self._log.error("process.left", threads=stacks.described(running, self._plugins))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._end(status)
