"""A group of tables that change together, one pass at a time: observe, compare, order, apply, rest."""

import asyncio
from collections.abc import Callable

import attrs

from routerd.reconcile.bound_table import BoundTable
from routerd.reconcile.desired import Desired
from routerd.reconcile.order import ordered
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

    async def run(self) -> None:
        """Make passes until cancelled."""
        while True:
            self.woken.clear()
            if await self.run_once(dry_run=False):
                # A second pass proves the first: it must find nothing to do.
                self.woken.set()
            # A wake-up, a retry, the end of a hold-down, or the resync comes first.
            await pause(self.clock, self._pause(), self.woken)

    async def run_once(self, *, dry_run: bool) -> bool:
        """Make one pass; return whether anything was changed."""
        async with self.passing:
            return await self._pass(dry_run=dry_run)

    async def _pass(self, *, dry_run: bool) -> bool:
        began = self.clock.monotonic()
        desired = self.derive()
        if desired is None:
            return False
        tables = dict(self.tables)
        changes = {name: await table.compare(desired, dry_run=dry_run) for name, table in tables.items()}
        if dry_run:
            return False
        roles = {name: table.binding.role for name, table in tables.items()}
        late = {name: table.late for name, table in tables.items()}
        changed = False
        for step in ordered(changes, roles, late):
            changed |= await tables[step.table].apply(step)
        self.passes += 1
        self.last_duration = self.clock.monotonic() - began
        self.on_pass()
        return changed

    def _pause(self) -> float:
        now = self.clock.monotonic()
        due = (table.next_look() for table in self.tables.values())
        seconds = min((at - now for at in due if at is not None), default=self.resync)
        return max(SHORTEST, min(seconds, self.resync))
