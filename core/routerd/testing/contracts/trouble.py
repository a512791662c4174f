"""The rules for tables in trouble: a call is cancelled, the process is killed, a call outside fails."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import Any

import pytest

from routerd.errors import ProviderError
from routerd.testing.awaits import MOST, cancelled_at, counted, killed_at, spread
from routerd.testing.contracts.table import (
    DEADLINE,
    AnySamples,
    OpenTable,
    TableRulesContract,
    apply,
    assert_holds,
    changes,
    deletions,
    fill,
    observe,
    restore,
)
from routerd.testing.faults import FaultPlan
from routerd.testing.outside import failing

Kill = Callable[[], Awaitable[None]]
"""Ends what a process has running, as a kill does."""

MOST_KILLS = 5
"""Maximum number of kills during one `apply`; each needs a new process."""


class TroubleRules(TableRulesContract):
    """The rules for all tables when something goes wrong."""

    @pytest.fixture
    def kill(self) -> Kill:
        """Return what ends the tasks of a process that is killed; a table by itself has none."""

        async def nothing() -> None:
            return

        return nothing

    @pytest.mark.proves("cancellation")
    @pytest.mark.asyncio
    async def test_a_call_that_is_cancelled_at_any_await_leaves_nothing_that_observe_cannot_see(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """After a cancelled `apply` or `observe` the usual pass still reaches the desired state."""
        async with open_table() as table:
            before = await observe(table)
            wanted = changes(table_samples.values, before)
            for number in spread(await counted(table.apply(wanted), deadline=DEADLINE)):
                await restore(table, before)
                await cancelled_at(table.apply(wanted), number, deadline=DEADLINE)
                assert_holds(table, table_samples.values, await fill(table, table_samples.values))
            observed = await fill(table, table_samples.values)
            for number in spread(await counted(table.observe(), deadline=DEADLINE)):
                await cancelled_at(table.observe(), number, deadline=DEADLINE)
                assert await observe(table) == observed, "a cancelled `observe` has changed something"

    @pytest.mark.proves("adoption")
    @pytest.mark.asyncio
    async def test_the_heir_of_a_killed_process_adopts_what_it_left(
        self, open_table: OpenTable, table_samples: AnySamples, kill: Kill
    ) -> None:
        """A kill at any await, or between two calls, closes nothing; the next process finds it."""
        async with open_table() as table:
            before = await observe(table)
            wanted = changes(table_samples.values, before)
            total = await counted(table.apply(wanted), deadline=DEADLINE)
            await restore(table, before)
        # The last kill comes when the changes are made.
        for number in [*spread(total, MOST_KILLS - 1), sys.maxsize]:
            async with AsyncExitStack() as past:
                table = await past.enter_async_context(open_table())
                killed = await past.enter_async_context(
                    killed_at(table.apply(wanted), number, deadline=DEADLINE)
                )
                left = None if killed else await observe(table)
                await kill()
                async with open_table(prepared=False) as heir:
                    found = await observe(heir)
                    assert left is None or found == left, "the heir observes something else"
                    assert_holds(heir, table_samples.values, await fill(heir, table_samples.values))
                    await restore(heir, before)

    @pytest.mark.proves("faults")
    @pytest.mark.asyncio
    async def test_any_call_outside_may_fail_while_changes_are_made(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """A fault is a `ProviderError` of its keys; every other key holds; the next pass does the rest."""
        async with open_table() as table:
            before = await observe(table)
            wanted = changes(table_samples.values, before)
            for plan in await plans(table.apply(wanted)):
                await restore(table, before)
                failed: Collection[Any] = [change.key for change in wanted]
                with failing(plan), contextlib.suppress(ProviderError):
                    failed = await apply(table, wanted)
                held = {change.key: change.after for change in wanted if change.key not in failed}
                assert_holds(table, held, await observe(table))
                assert_holds(table, table_samples.values, await fill(table, table_samples.values))

    @pytest.mark.proves("faults")
    @pytest.mark.asyncio
    async def test_any_call_outside_may_fail_while_the_table_is_read(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """`observe` returns everything or raises a `ProviderError`; what it left out would be made again."""
        async with open_table() as table:
            present = await fill(table, table_samples.values)
            for plan in await plans(table.observe()):
                seen: object = present
                with failing(plan), contextlib.suppress(ProviderError):
                    seen = await observe(table)
                assert seen == present, "a part is missing where a call has failed"

    @pytest.mark.needs("deletes")
    @pytest.mark.proves("cancellation")
    @pytest.mark.asyncio
    async def test_a_deletion_that_is_cancelled_at_any_await_can_be_made_again(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """The next pass deletes what is left, and nothing that stays out of sight."""
        async with open_table() as table:
            gone = deletions(table_samples.values, await fill(table, table_samples.values))
            for number in spread(await counted(table.apply(gone), deadline=DEADLINE)):
                await fill(table, table_samples.values)
                await cancelled_at(table.apply(gone), number, deadline=DEADLINE)
                assert await apply(table, gone) == {}
                assert not set(table_samples.values) & set(await observe(table))

    @pytest.mark.needs("deletes")
    @pytest.mark.proves("faults")
    @pytest.mark.asyncio
    async def test_any_call_outside_may_fail_while_keys_are_deleted(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """A key without a failure is gone, and the next pass deletes the others."""
        async with open_table() as table:
            gone = deletions(table_samples.values, await fill(table, table_samples.values))
            for plan in await plans(table.apply(gone)):
                await fill(table, table_samples.values)
                failed: Collection[Any] = [change.key for change in gone]
                with failing(plan), contextlib.suppress(ProviderError):
                    failed = await apply(table, gone)
                there = set(table_samples.values) & set(await observe(table))
                assert there <= set(failed), "a key without a failure is still there"
                assert await apply(table, gone) == {}
                assert not set(table_samples.values) & set(await observe(table))


async def plans(work: Awaitable[object], most: int = MOST) -> list[FaultPlan]:
    """Do `work`, which is not to fail, and return plans that fail its calls outside, each another one."""
    counting = FaultPlan()
    with failing(counting):
        async with asyncio.timeout(DEADLINE):
            await work
    return [FaultPlan(number) for number in spread(len(counting.calls), most)]
