"""A group of tables that change together, one pass at a time: observe, compare, order, apply, rest.

What complicates this:
- A plugin that does not answer must not keep the tables of others waiting. So the tables of each plugin
  are called one after the other, different plugins at once, and a pass waits at most `PATIENCE` seconds
  for all calls together. A call that takes longer goes on by itself; passes leave out its plugin until
  it has ended, and its end starts the next pass.
- The core's own tables have no patience to fear: a pass waits for them to their deadline.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import attrs

from routerd.reconcile.bound_table import BoundTable
from routerd.reconcile.desired import Desired
from routerd.reconcile.order import AnyChange, ordered
from routerd.spi import Clock
from routerd.spi.backoff import pause

SHORTEST = 0.05
"""Minimum seconds between two passes."""

PATIENCE = 1.0
"""Maximum seconds that one pass waits for calls into plugins while other plugins have tables."""

DeriveFunction = Callable[[], Desired | None]


@attrs.define(kw_only=True)
class Lane:
    """The tables of one lane by name, and its passes; `resync` seconds pass at most between two passes."""

    derive: DeriveFunction
    clock: Clock
    on_pass: Callable[[], None]
    resync: float
    tables: dict[str, BoundTable] = attrs.field(factory=dict)
    woken: asyncio.Event = attrs.field(factory=asyncio.Event)
    passing: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    passes: int = 0
    last_duration: float = 0.0
    _calls: dict[str, asyncio.Task[bool]] = attrs.field(factory=dict, init=False)
    """The task of each plugin that is being called."""

    async def run(self) -> None:
        """Make passes until cancelled."""
        try:
            while True:
                self.woken.clear()
                if await self.run_once(dry_run=False):
                    # A second pass proves the first: it must find nothing to do.
                    self.woken.set()
                # A wake-up, a retry, the end of a hold-down, or the resync comes first.
                await pause(self.clock, self._pause(), self.woken)
        finally:
            await self._end_calls(list(self._calls))

    async def run_once(self, *, dry_run: bool) -> bool:
        """Make one pass; return whether anything was changed."""
        async with self.passing:
            return await self._pass(dry_run=dry_run)

    async def end_calls(self, table: str) -> None:
        """Cancel a call of the table's plugin that takes longer than its pass, and wait for it."""
        await self._end_calls([self.tables[table].binding.plugin])

    async def _pass(self, *, dry_run: bool) -> bool:
        began = self.clock.monotonic()
        desired = self.derive()
        if desired is None:
            return False
        self._forget_ended()
        plugins = self._plugins()
        patience = None if dry_run or len(plugins) == 1 else _Patience(self.clock)
        free = [plugin for plugin in plugins if plugin not in self._calls]
        for plugin in free:
            self._begin(plugin, _look(plugins[plugin], desired))
        await self._wait(free, patience)
        tables = {
            name: table for name, table in self.tables.items() if table.binding.plugin not in self._calls
        }
        changes = {name: table.judge(desired, dry_run=dry_run) for name, table in tables.items()}
        if dry_run:
            return False
        changed = await self._apply(tables, changes, patience)
        self.passes += 1
        self.last_duration = self.clock.monotonic() - began
        self.on_pass()
        return changed

    async def _apply(
        self, tables: dict[str, BoundTable], changes: dict[str, list[AnyChange]], patience: "_Patience | None"
    ) -> bool:
        roles = {name: table.binding.role for name, table in tables.items()}
        late = {name: table.late for name, table in tables.items()}
        changed = False
        for step in ordered(changes, roles, late):
            table = tables[step.table]
            plugin = table.binding.plugin
            if plugin in self._calls:
                continue  # the pass after its end finds these changes again
            self._begin(plugin, table.apply(step))
            changed |= await self._wait([plugin], patience)
        return changed

    def _plugins(self) -> dict[str, list[BoundTable]]:
        found: dict[str, list[BoundTable]] = {}
        for table in self.tables.values():
            found.setdefault(table.binding.plugin, []).append(table)
        return found

    # --- calls -------------------------------------------------------------------------------------------

    def _begin(self, plugin: str, work: Coroutine[Any, Any, bool]) -> None:  # Any: unused
        self._calls[plugin] = asyncio.create_task(work, name=f"lane: {plugin or 'core'}")

    async def _wait(self, plugins: Iterable[str], patience: "_Patience | None") -> bool:
        """Wait for the calls of `plugins`, the core's without patience; say if one changed anything."""
        waiting = {plugin: self._calls[plugin] for plugin in plugins}
        try:
            own = waiting.pop("", None)
            if patience is None:
                await _all(waiting.values())
            else:
                await patience.wait(waiting.values())
            await _all([own] if own is not None else [])
        except asyncio.CancelledError:
            await self._end_calls(list(self._calls))
            raise
        for task in waiting.values():
            if not task.done():
                task.add_done_callback(lambda _: self.woken.set())
        return self._forget_ended()

    def _forget_ended(self) -> bool:
        ended = {plugin: task for plugin, task in self._calls.items() if task.done()}
        for plugin in ended:
            del self._calls[plugin]
        # A table keeps the failures of its plugin, so `result` raises our own defects only.
        return sum(task.result() for task in ended.values()) > 0

    async def _end_calls(self, plugins: Iterable[str]) -> None:
        tasks = [self._calls.pop(plugin) for plugin in plugins if plugin in self._calls]
        for task in tasks:
            task.cancel()
        await _all(tasks)

    def _pause(self) -> float:
        now = self.clock.monotonic()
        due = (table.next_look() for table in self.tables.values() if table.binding.plugin not in self._calls)
        seconds = min((at - now for at in due if at is not None), default=self.resync)
        return max(SHORTEST, min(seconds, self.resync))


async def _look(tables: Iterable[BoundTable], desired: Desired) -> bool:
    for table in tables:
        await table.look(desired)
    return False


async def _all(tasks: Iterable[asyncio.Task[bool]]) -> None:
    waiting = list(tasks)
    if waiting:
        await asyncio.wait(waiting)


class _Patience:
    """The seconds that a pass may still wait for plugins."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left = PATIENCE

    async def wait(self, tasks: Iterable[asyncio.Task[bool]]) -> None:
        """Wait until all tasks have ended or the patience has."""
        waiting = {task for task in tasks if not task.done()}
        if not waiting:
            return
        began = self._clock.monotonic()
        over = asyncio.ensure_future(self._clock.sleep(self._left))
        try:
            while waiting and not over.done():
                await asyncio.wait({*waiting, over}, return_when=asyncio.FIRST_COMPLETED)
                waiting = {task for task in waiting if not task.done()}
        finally:
            over.cancel()
            self._left = max(0.0, self._left - (self._clock.monotonic() - began))
