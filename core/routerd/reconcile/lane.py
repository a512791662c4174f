"""A group of tables that change together, one pass at a time: observe, compare, order, apply, rest.

What complicates this:
- A pass waits for a plugin, within limits (see `calls`), because a kernel route may need its tunnel: make
  before break. A pass leaves out the tables of a plugin that it does not wait for.
- A wake-up during that wait is news, such as a learned route, and news should not wait. But the pass cannot
  know yet whether the plugin hangs or is about to answer. It goes on without a plugin whose tables were as
  desired at their last reading, if they still are to be so: then nothing in them has to come first. It
  waits for a plugin that has something to make.
- A change that the pass has handed to a plugin is such a thing to make, so no wake-up ends that wait.
"""

import asyncio
from collections.abc import Callable, Iterable

import attrs

from routerd.reconcile.bound_table import BoundTable
from routerd.reconcile.calls import CORE, Calls, Patience
from routerd.reconcile.desired import Desired
from routerd.reconcile.order import AnyChange, ordered
from routerd.spi import Clock
from routerd.spi.backoff import pause

SHORTEST = 0.05
"""Minimum seconds between two passes."""

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
    _calls: Calls = attrs.field(
        default=attrs.Factory(lambda self: Calls(clock=self.clock, woken=self.woken), takes_self=True),
        init=False,
    )

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
            await self._calls.end(self._plugins())

    async def run_once(self, *, dry_run: bool) -> bool:
        """Make one pass; return whether anything was changed."""
        async with self.passing:
            return await self._pass(dry_run=dry_run)

    async def end_calls(self, table: str) -> None:
        """Cancel a call of the table's plugin that takes longer than its pass, and wait for it."""
        await self._calls.end([self.tables[table].binding.plugin])

    async def drop(self, table: str) -> None:
        """Remove a table for good; what its plugin does then is the work of another provider."""
        await self.end_calls(table)
        self._calls.forget(self.tables.pop(table).binding.plugin)

    async def _pass(self, *, dry_run: bool) -> bool:
        began = self.clock.monotonic()
        desired = self.derive()
        if desired is None:
            return False
        self._calls.forget_ended()
        plugins = self._plugins()
        patience = None if dry_run or len(plugins) == 1 else Patience()
        await self._look(plugins, desired, patience)
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

    async def _look(
        self, plugins: dict[str, list[BoundTable]], desired: Desired, patience: Patience | None
    ) -> None:
        """Observe the tables of each plugin that is not being called, and wait for those that may matter."""

        def dispensable(plugin: str) -> bool:
            return plugin != CORE and all(table.is_settled(desired) for table in plugins[plugin])

        # An earlier pass has left these calls at a wake-up, and so may this one.
        waited = [plugin for plugin in plugins if plugin in self._calls and not dispensable(plugin)]
        for plugin, tables in plugins.items():
            if plugin in self._calls:
                continue
            waited.append(plugin)
            # The pass judges what a slow plugin has answered to an earlier one, before it asks again.
            if not (self._calls.is_slow(plugin) and any(table.looked for table in tables)):
                self._calls.begin(plugin, _look(tables, desired), changes=False)
        await self._calls.wait(waited, patience, dispensable=dispensable)

    async def _apply(
        self, tables: dict[str, BoundTable], changes: dict[str, list[AnyChange]], patience: Patience | None
    ) -> bool:
        roles = {name: table.binding.role for name, table in tables.items()}
        late = {name: table.late for name, table in tables.items()}
        changed = False
        for step in ordered(changes, roles, late):
            table = tables[step.table]
            plugin = table.binding.plugin
            if plugin in self._calls:
                continue  # the pass after its end finds these changes again
            self._calls.begin(plugin, table.apply(step), changes=True)
            changed |= await self._calls.wait([plugin], patience)
        return changed

    def _plugins(self) -> dict[str, list[BoundTable]]:
        found: dict[str, list[BoundTable]] = {}
        for table in self.tables.values():
            found.setdefault(table.binding.plugin, []).append(table)
        return found

    def _pause(self) -> float:
        now = self.clock.monotonic()
        due = (table.next_look() for table in self.tables.values() if table.binding.plugin not in self._calls)
        seconds = min((at - now for at in due if at is not None), default=self.resync)
        return max(SHORTEST, min(seconds, self.resync))


async def _look(tables: Iterable[BoundTable], desired: Desired) -> bool:
    """Observe the tables, one after the other; return whether one could be read."""
    return any([await table.look(desired) for table in tables])
