"""The calls of one lane into its plugins, and how long a pass waits for them.

What complicates this:
- A plugin that does not answer must not keep the tables of others waiting. So the tables of each plugin
  are called one after the other, different plugins at once, and a pass waits at most `PATIENCE` seconds
  for all calls together. A call that takes longer goes on by itself, and its end starts the next pass.
- A plugin that hangs at each call would cost each pass these seconds. So the lane waits no more for a
  plugin that has once taken longer, until its tables can be read within the patience again. A quick
  change proves less: it would cost a second for each change of a plugin that is slow to read.
- The core's own tables have no patience to fear: a pass waits for them to their deadline.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

import attrs

from routerd.spi import Clock

PATIENCE = 1.0
"""Maximum seconds that one pass waits for calls into plugins while other plugins have tables."""

CORE = ""
"""The plugin of the core's own tables."""


@attrs.define(kw_only=True, eq=False)
class _Call:
    task: asyncio.Task[bool]
    changes: bool
    left: bool = False


class Patience:
    """The seconds that a pass may still wait for plugins."""

    def __init__(self) -> None:
        self.left = PATIENCE


@attrs.define(kw_only=True)
class Calls:
    """At most one call of each plugin at a time; `woken` is set at the end of a call that a pass left."""

    clock: Clock
    woken: asyncio.Event
    _running: dict[str, _Call] = attrs.field(factory=dict, init=False)
    _slow: set[str] = attrs.field(factory=set, init=False)

    def __contains__(self, plugin: str) -> bool:
        """Say whether a call of the plugin runs."""
        return plugin in self._running

    def is_slow(self, plugin: str) -> bool:
        """Say whether the plugin has taken longer than the patience, with no reading in time since."""
        return plugin in self._slow

    def forget(self, plugin: str) -> None:
        """Give a plugin its patience back, as its provider is another one now."""
        self._slow.discard(plugin)

    def begin(self, plugin: str, work: Coroutine[Any, Any, bool], *, changes: bool) -> None:  # Any: unused
        """Begin a call that returns whether it succeeded; it reads tables, or `changes` one."""
        task = asyncio.create_task(
            work if changes else self._timed(plugin, work), name=f"lane: {plugin or 'core'}"
        )
        self._running[plugin] = _Call(task=task, changes=changes)

    async def _timed(self, plugin: str, reading: Coroutine[Any, Any, bool]) -> bool:  # Any: unused
        began = self.clock.monotonic()
        succeeded = await reading
        if succeeded and self.clock.monotonic() - began < PATIENCE:
            self._slow.discard(plugin)
        return succeeded

    async def wait(
        self,
        plugins: Collection[str],
        patience: Patience | None,
        *,
        dispensable: Callable[[str], bool] = lambda _: False,
    ) -> bool:
        """Wait for the calls of `plugins`, the core's without patience; say if an ended call changed a table.

        A wake-up ends the wait for each plugin that is `dispensable`.
        """
        waiting = {plugin: self._running[plugin] for plugin in plugins if plugin in self._running}
        own = waiting.pop(CORE, None)
        try:
            if patience is None:
                await _all(call.task for call in waiting.values())
            else:
                await self._wait_patiently(set(waiting) - self._slow, patience, dispensable)
            await _all([own.task] if own is not None else [])
        except asyncio.CancelledError:
            await self.end(list(self._running))
            raise
        for call in waiting.values():
            if not (call.task.done() or call.left):
                call.left = True
                call.task.add_done_callback(lambda _: self.woken.set())
        return self.forget_ended()

    async def _wait_patiently(
        self, plugins: set[str], patience: Patience, dispensable: Callable[[str], bool]
    ) -> None:
        """Wait until all calls have ended or the patience has; a plugin without an answer then is slow."""
        waiting = {plugin for plugin in plugins if not self._running[plugin].task.done()}
        if not waiting:
            return
        began = self.clock.monotonic()
        over = asyncio.ensure_future(self.clock.sleep(patience.left))
        # The pass knows of a wake-up from before it.
        news = asyncio.Event() if self.woken.is_set() else self.woken
        woken = asyncio.ensure_future(news.wait())
        try:
            while waiting and not over.done():
                ends = {over, *(self._running[plugin].task for plugin in waiting)}
                await asyncio.wait(
                    ends if woken.done() else {woken, *ends}, return_when=asyncio.FIRST_COMPLETED
                )
                if woken.done():
                    waiting = {plugin for plugin in waiting if not dispensable(plugin)}
                waiting = {plugin for plugin in waiting if not self._running[plugin].task.done()}
            self._slow |= waiting
        finally:
            over.cancel()
            woken.cancel()
            patience.left = max(0.0, patience.left - (self.clock.monotonic() - began))

    def forget_ended(self) -> bool:
        """Drop the calls that have ended; say if one of them changed anything."""
        ended = {plugin: call for plugin, call in self._running.items() if call.task.done()}
        for plugin in ended:
            del self._running[plugin]
        # A table keeps the failures of its plugin, so `result` raises our own defects only.
        return sum(call.task.result() and call.changes for call in ended.values()) > 0

    async def end(self, plugins: Iterable[str]) -> None:
        """Cancel the calls of `plugins`, and wait for them."""
        calls = [self._running.pop(plugin) for plugin in plugins if plugin in self._running]
        for call in calls:
            call.task.cancel()
        await _all(call.task for call in calls)


async def _all(tasks: Iterable[asyncio.Task[bool]]) -> None:
    waiting = list(tasks)
    if waiting:
        await asyncio.wait(waiting)
