"""The only loop: observe, compare, apply, report, repeat.

Tables are grouped in lanes. The host's tables form one lane, each cloud one of its own, so that a
slow API never keeps a kernel route waiting. A lane handles one pass at a time, and a pass does not wait for
a plugin that hangs; an event only sets a flag that starts the next pass.
"""

import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from routerd.reconcile.bound_table import Binding, BoundTable, TableReport
from routerd.reconcile.lane import DeriveFunction, Lane
from routerd.spi import Clock, Logger

__all__ = ["Binding", "Loop", "TableReport"]

RESYNC = 120.0
"""Seconds after which a lane observes its tables although no event has asked for it."""


class Loop:
    """Keeps the tables at what `derive` says; `derive` returns none while nothing is known yet."""

    def __init__(
        self,
        bindings: Sequence[Binding],
        *,
        derive: DeriveFunction,
        clock: Clock,
        log: Logger,
        on_pass: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
        resync: float = RESYNC,
    ) -> None:
        self._derive = derive
        self._clock = clock
        self._log = log
        self._on_pass = on_pass
        self._jitter = jitter
        self._resync = resync
        self._lanes: dict[str, Lane] = {}
        for binding in bindings:
            self.bind(binding)

    def bind(self, binding: Binding) -> None:
        """Add a table; `run_lane` must run a lane that is new."""
        if any(table.binding.name == binding.name for table in self._tables()):
            raise ValueError(f"table {binding.name} is bound twice")
        if binding.lane not in self._lanes:
            self._lanes[binding.lane] = Lane(
                derive=self._derive, clock=self._clock, on_pass=self._on_pass, resync=self._resync
            )
        table = BoundTable(binding, clock=self._clock, log=self._log, jitter=self._jitter)
        self._lanes[binding.lane].tables[binding.name] = table

    @asynccontextmanager
    async def without(self, tables: Collection[str]) -> AsyncIterator[None]:
        """Drop tables, for good; no lane of them makes a pass until the block ends."""
        lanes = [lane for lane in self._lanes.values() if lane.tables.keys() & tables]
        async with AsyncExitStack() as stack:
            for lane in lanes:
                await stack.enter_async_context(lane.passing)
                for name in lane.tables.keys() & tables:
                    await lane.drop(name)
            yield

    def bindings(self) -> tuple[Binding, ...]:
        """Return every table that is bound."""
        return tuple(table.binding for table in self._tables())

    @property
    def lanes(self) -> tuple[str, ...]:
        """Return the names of the lanes."""
        return tuple(self._lanes)

    # --- events ----------------------------------------------------------------------------------------

    def wake(self, lane: str | None = None) -> None:
        """Start the next pass of one lane, or of all, soon; never blocks."""
        for each in self._lanes.values() if lane is None else (self._lanes[lane],):
            each.woken.set()

    def reread(self, table: str) -> None:
        """Let the next pass observe a table, however recent the last observation, and start it soon."""
        for lane in self._lanes.values():
            if table in lane.tables and lane.tables[table].reread():
                lane.woken.set()

    def retry_now(self) -> None:
        """Forget every pause and start a pass of every lane."""
        for table in self._tables():
            table.retry_now()
        self.wake()

    def retry_role(self, role: str) -> None:
        """Let the next pass retry failed keys of one role; what they lacked may be there now."""
        for table in self._tables():
            if table.binding.role == role:
                table.retry_early()

    @asynccontextmanager
    async def exclusive(self, table: str) -> AsyncIterator[Binding]:
        """Yield a table for a change that is not the loop's; its lane makes no pass until the block ends.

        `KeyError` when it is not bound. Afterwards the lane observes it before it changes anything.
        """
        lane = next((lane for lane in self._lanes.values() if table in lane.tables), None)
        if lane is None:
            raise KeyError(table)
        async with lane.passing:
            await lane.end_calls(table)
            try:
                yield lane.tables[table].binding
            finally:
                self.reread(table)

    # --- passes ----------------------------------------------------------------------------------------

    async def run_lane(self, name: str) -> None:
        """Run passes of one lane until cancelled."""
        await self._lanes[name].run()

    async def run_once(self, name: str, *, dry_run: bool = False) -> bool:
        """Make one pass of one lane; return whether it changed anything."""
        return await self._lanes[name].run_once(dry_run=dry_run)

    def reports(self) -> dict[str, TableReport]:
        """Return the last report of each table."""
        found = ((table.binding.name, table.report) for table in self._tables())
        return {name: report for name, report in found if report is not None}

    def passes(self) -> dict[str, tuple[int, float]]:
        """Return the number of passes of each lane and the seconds that the last one took."""
        return {name: (lane.passes, lane.last_duration) for name, lane in self._lanes.items()}

    def _tables(self) -> Iterator[BoundTable]:
        return (table for lane in self._lanes.values() for table in lane.tables.values())
