"""A thread beside the event loop: it measures the lag, names the frame that blocks, and ends the process.

What complicates this:
- A plugin that blocks the loop cannot be stopped, only named: the thread reads the stack of the loop.
- A loop that waits for events although it is late lacks processor time; no plugin is to blame for that.
- A task that is deaf, a thread that does not end or a loop that is blocked must not keep the process, so
  the thread also has its deadline.
"""

import asyncio
import os
import selectors
import threading
import time
from collections.abc import Callable, Mapping

import attrs

from routerd.process import stacks
from routerd.spi import Logger

INTERVAL = 0.25
"""Seconds between two measurements."""

BLOCKED = 1.0
"""Seconds of lag above which the log names the frame that blocks the loop."""

END_SECONDS = 25.0
"""Maximum seconds from a signal to the end of the process; below `TimeoutStopSec` of the unit."""

THREAD_SECONDS = 3.0
"""Seconds that the threads of plugins have to end after everything else."""


@attrs.define(kw_only=True)
class Lag:
    """How late the loop was: at the last measurement, at most, and how often above `BLOCKED`; in seconds."""

    last: float = 0.0
    longest: float = 0.0
    blocked: int = 0


class Watchdog:
    """Watches one event loop. `plugins` has the name of the plugin by its top-level package.

    With `limit`, a plugin that blocks the loop for so many seconds ends the process with status 1.
    """

    def __init__(
        self,
        log: Logger,
        *,
        interval: float = INTERVAL,
        blocked: float = BLOCKED,
        limit: float | None = None,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self.plugins: Mapping[str, str] = {}
        self.lag = Lag()
        self._notes: dict[str, str] = {}
        self._log = log
        self._interval = interval
        self._blocked = blocked
        self._limit = limit
        self._leave = leave
        self._over = threading.Event()
        self._ends_at: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_of_loop = 0

    def start(self) -> None:
        """Watch the running loop of this thread."""
        self._loop = loop = asyncio.get_running_loop()
        self._thread_of_loop = threading.get_ident()
        # A daemon: it outlives whatever keeps the interpreter from its end, and never is such a thing.
        threading.Thread(target=self._run, args=[loop], name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()

    def expect_end(self, seconds: float = END_SECONDS) -> None:
        """End the process if it has not ended after `seconds`; the log names what it left."""
        end = time.monotonic() + seconds
        self._ends_at = end if self._ends_at is None else min(self._ends_at, end)

    def notes(self) -> list[str]:
        """Return the last offence of each plugin, as messages."""
        return [text for _, text in sorted(self._notes.items())]

    def note_exit(self, error: SystemExit) -> None:
        """Note that a task or callback, which nothing contains, called sys.exit."""
        plugin, where = stacks.owner(stacks.raised_by(error), self.plugins)
        text = f"called sys.exit({error.code!r}) in a task of its own, at {where}; routerd goes on"
        self._note(plugin, text)
        self._log.error("task.exit", plugin=plugin, code=error.code, frame=where)

    # --- in the thread -------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._over.wait(self._interval):
            self._end_if_late()
            answered = threading.Event()
            began = time.monotonic()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:
                continue  # the loop is closed, and the interpreter is about to end
            self._await(loop, answered, began)

    def _await(self, loop: asyncio.AbstractEventLoop, answered: threading.Event, began: float) -> None:
        blamed: tuple[str, str] | None = None
        while not answered.wait(self._interval):
            self._end_if_late()
            if self._over.is_set() or loop.is_closed():
                return
            seconds = time.monotonic() - began
            if self._limit is not None and seconds >= self._limit:
                self._end_blocked(seconds)
            if seconds < self._blocked:
                continue
            self.lag.last = seconds
            self.lag.longest = max(self.lag.longest, seconds)
            if blamed is None and (blamed := self._culprit()) is not None:
                plugin, where = blamed
                self.lag.blocked += 1
                self._note(plugin, f"blocked the event loop for more than {self._blocked:g} s at {where}")
                self._log.warning("loop.blocked", plugin=plugin, seconds=round(seconds, 1), frame=where)
        seconds = time.monotonic() - began
        self.lag.last = seconds
        self.lag.longest = max(self.lag.longest, seconds)
        if blamed is not None:
            plugin, where = blamed
            self._note(plugin, f"blocked the event loop for {seconds:.1f} s at {where}")
            self._log.warning("loop.free", plugin=plugin, seconds=round(seconds, 1), frame=where)

    def _culprit(self) -> tuple[str, str] | None:
        """Return the plugin and the frame that the loop runs; none when it waits for events."""
        frame = stacks.of_thread(self._thread_of_loop)
        if frame is None or frame.f_code.co_filename == selectors.__file__:
            return None
        return stacks.owner(stacks.outwards(frame), self.plugins)

    def _note(self, plugin: str, text: str) -> None:
        self._notes[plugin] = f"plugin {plugin}: {text}" if plugin else f"routerd: {text}"

    def _end_blocked(self, seconds: float) -> None:
        plugin, where = self._culprit() or ("", "")
        if plugin:
            self._log.error("process.blocked", plugin=plugin, seconds=round(seconds), frame=where)
            self._over.set()
            self._leave(1)

    def _end_if_late(self) -> None:
        if self._ends_at is None or time.monotonic() < self._ends_at:
            return
        tasks = asyncio.all_tasks(self._loop) if self._loop is not None else set()
        self._log.error(
            "process.left",
            tasks=", ".join(sorted(task.get_name() for task in tasks if not task.done())),
            threads=stacks.described(threading.enumerate(), self.plugins),
        )
        self._over.set()
        self._leave(0)
