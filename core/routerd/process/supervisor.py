"""Owner of every task of the daemon: starts it, restarts it after a failure, ends it with the daemon."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from routerd.errors import words_of
from routerd.spi import Clock, Logger
from routerd.spi.backoff import doubled

Work = Coroutine[Any, Any, None]  # Any: a coroutine's send type plays no part


class Supervisor:
    """Runs tasks by name; logs a task that fails, and restarts it if it was given as a function.

    The status lists a failure until its task has run for the longest pause without another one. Most
    tasks never end, so only time shows success.
    """

    def __init__(self, *, clock: Clock, log: Logger, ceiling: float = 60.0) -> None:
        self._clock = clock
        self._log = log
        self._ceiling = ceiling
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, str] = {}
        self._began: dict[str, float] = {}
        self._stuck: set[str] = set()

    @property
    def failures(self) -> dict[str, str]:
        """Return the last failure in words, by the name of its task."""
        now = self._clock.monotonic()
        well = {name for name, began in self._began.items() if now - began > self._ceiling}
        return {name: text for name, text in self._failed.items() if name not in well}

    def spawn(self, name: str, work: Work) -> None:
        """Run `work` once under `name`; `ValueError` when a task of that name is running."""
        self._start(name, self._once(name, work), work)

    def keep(self, name: str, make: Callable[[], Work]) -> None:
        """Run `make()` repeatedly; after a failure with a growing pause, 1 s to a minute."""
        self._start(name, self._forever(name, make))

    def running(self, name: str) -> bool:
        """Say whether a task of that name is running."""
        return name in self._tasks

    async def cancel(self, name: str, deadline: float = 10.0) -> None:
        """End one task, if it runs, and wait for it.

        A task that does not end within `deadline` seconds is logged once and remains `running`.
        """
        task = self._tasks.get(name)
        if task is not None:
            await self._end({name: task}, deadline)

    async def cancel_below(self, prefix: str, deadline: float = 10.0) -> None:
        """End all tasks whose name begins with `prefix`, as `cancel` ends one."""
        tasks = {name: task for name, task in self._tasks.items() if name.startswith(prefix)}
        if tasks:
            await self._end(tasks, deadline)

    async def aclose(self, deadline: float = 10.0) -> None:
        """End all tasks; the log names each that does not end within `deadline` seconds."""
        if self._tasks:
            await self._end(dict(self._tasks), deadline)

    async def _end(self, tasks: dict[str, asyncio.Task[None]], deadline: float) -> None:
        for task in tasks.values():
            task.cancel()
        _, stuck = await asyncio.wait(tasks.values(), timeout=deadline)
        for name, task in tasks.items():
            if task in stuck and name not in self._stuck:
                self._stuck.add(name)
                self._log.error("task.stuck", task=name, seconds=deadline)

    def _start(self, name: str, work: Work, inner: Work | None = None) -> None:
        # A task that is cancelled before its first step never awaits its coroutine.
        unused = [each for each in (work, inner) if each is not None]
        if name in self._tasks:
            for each in unused:
                each.close()
            raise ValueError(f"task {name} is running already")
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._ended(name, unused))

    def _ended(self, name: str, unused: list[Work]) -> None:
        self._tasks.pop(name, None)
        self._began.pop(name, None)
        self._stuck.discard(name)
        for each in unused:
            each.close()

    async def _once(self, name: str, work: Work) -> None:
        self._began[name] = self._clock.monotonic()
        try:
            await work
            self._failed.pop(name, None)
        except BaseException as error:  # noqa: BLE001 - the owner of a task is where its failure ends
            self._note(name, error)

    async def _forever(self, name: str, make: Callable[[], Work]) -> None:
        failures = 1
        while True:
            began = self._began[name] = self._clock.monotonic()
            try:
                await make()
                self._failed.pop(name, None)
            except BaseException as error:  # noqa: BLE001 - the owner of a task is where its failure ends
                self._note(name, error)
            del self._began[name]
            if self._clock.monotonic() - began > self._ceiling:
                failures = 1
            await self._clock.sleep(doubled(failures, ceiling=self._ceiling))
            failures += 1

    def _note(self, name: str, error: BaseException) -> None:
        """Note the failure of a task; raise it if it is not one but the end that somebody asked for.

        A task of a plugin may raise SystemExit, which would end the loop, or leak a CancelledError.
        """
        task = asyncio.current_task()
        asked = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
        if asked or isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise error
        self._failed[name] = words_of(error)
        self._log.error("task.failed", task=name, error=words_of(error), trace=error)
