"""The rules for tables in trouble: a call is cancelled, the process is killed, a call outside fails."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from routerd.errors import ProviderError
from routerd.testing.awaits import MOST, cancelled_at, killed_at
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
            for number in range(1, MOST + 1):
                cancelled = await cancelled_at(table.apply(wanted), number, deadline=DEADLINE)
                observed = await fill(table, table_samples.values)
                assert_holds(table, table_samples.values, observed)
                looked = await cancelled_at(table.observe(), number, deadline=DEADLINE)
                assert await observe(table) == observed, "a cancelled `observe` has changed something"
                await restore(table, before)
                if not cancelled and not looked:
                    break

    @pytest.mark.proves("adoption")
    @pytest.mark.asyncio
    async def test_the_heir_of_a_killed_process_adopts_what_it_left(
        self, open_table: OpenTable, table_samples: AnySamples, kill: Kill
    ) -> None:
        """A kill at any await, or between two calls, closes nothing; the next process finds it."""
        for number in range(1, MOST_KILLS + 1):
            async with AsyncExitStack() as past:
                table = await past.enter_async_context(open_table())
                before = await observe(table)
                work = table.apply(changes(table_samples.values, before))
                # The last kill comes when the changes are made, for a table with many awaits too.
                at = number if number < MOST_KILLS else sys.maxsize
                killed = await past.enter_async_context(killed_at(work, at, deadline=DEADLINE))
                left = None if killed else await observe(table)
                await kill()
                async with open_table(prepared=False) as heir:
                    found = await observe(heir)
                    assert left is None or found == left, "the heir observes something else"
                    assert_holds(heir, table_samples.values, await fill(heir, table_samples.values))
                    await restore(heir, before)
            if not killed:
                break

    @pytest.mark.proves("faults")
    @pytest.mark.asyncio
    async def test_any_call_outside_may_fail_while_changes_are_made(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """A fault is a `ProviderError` of its keys; every other key holds; the next pass does the rest."""
        async with open_table() as table:
            before = await observe(table)
            wanted = changes(table_samples.values, before)
            for plan in _plans():
                failed: Collection[Any] = [change.key for change in wanted]
                with failing(plan), contextlib.suppress(ProviderError):
                    failed = await apply(table, wanted)
                held = {change.key: change.after for change in wanted if change.key not in failed}
                assert_holds(table, held, await observe(table))
                assert_holds(table, table_samples.values, await fill(table, table_samples.values))
                await restore(table, before)
                if not plan.fired:
                    break

    @pytest.mark.proves("faults")
    @pytest.mark.asyncio
    async def test_any_call_outside_may_fail_while_the_table_is_read(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """`observe` returns everything or raises a `ProviderError`; what it left out would be made again."""
        async with open_table() as table:
            present = await fill(table, table_samples.values)
            for plan in _plans():
                seen: object = present
                with failing(plan), contextlib.suppress(ProviderError):
                    seen = await observe(table)
                assert seen == present, "a part is missing where a call has failed"
                if not plan.fired:
                    break

    @pytest.mark.needs("deletes")
    @pytest.mark.proves("cancellation")
    @pytest.mark.asyncio
    async def test_a_deletion_that_is_cancelled_at_any_await_can_be_made_again(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """The next pass deletes what is left, and nothing that stays out of sight."""
        async with open_table() as table:
            for number in range(1, MOST + 1):
                gone = deletions(table_samples.values, await fill(table, table_samples.values))
                cancelled = await cancelled_at(table.apply(gone), number, deadline=DEADLINE)
                assert await apply(table, gone) == {}
                assert not set(table_samples.values) & set(await observe(table))
                if not cancelled:
                    break

    @pytest.mark.needs("deletes")
    @pytest.mark.proves("faults")
    @pytest.mark.asyncio
    async def test_any_call_outside_may_fail_while_keys_are_deleted(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """A key without a failure is gone, and the next pass deletes the others."""
        async with open_table() as table:
            for plan in _plans():
                gone = deletions(table_samples.values, await fill(table, table_samples.values))
                failed: Collection[Any] = [change.key for change in gone]
                with failing(plan), contextlib.suppress(ProviderError):
                    failed = await apply(table, gone)
                there = set(table_samples.values) & set(await observe(table))
                assert there <= set(failed), "a key without a failure is still there"
                assert await apply(table, gone) == {}
                assert not set(table_samples.values) & set(await observe(table))
                if not plan.fired:
                    break


def _plans() -> Iterator[FaultPlan]:
    """Yield plans that fail the first call, the second, and so on."""
    return (FaultPlan(number) for number in range(1, MOST + 1))
