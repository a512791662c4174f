"""The suite for one table by itself, without a provider."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from routerd.testing.contracts.samples import TableRules
from routerd.testing.contracts.table import (
    AnySamples,
    AnyTable,
    DeletionRules,
    ForeignRules,
    OpenTable,
    RefusalRules,
    ReplacementRules,
)
from routerd.testing.contracts.trouble import TroubleRules


class TableContract(TroubleRules, ReplacementRules, DeletionRules, RefusalRules, ForeignRules):
    """The suite for one table by itself. Give it `table` (or `new_table`) and `samples`.

    Set `tables = (TableRules(attribute="...", ...),)` when not every rule can hold.

    Added in 1.0.
    """

    tables: ClassVar[tuple[TableRules, ...]] = (TableRules(attribute="table"),)

    @pytest.fixture
    def table(self) -> AnyTable:
        """Return the table under test."""
        raise NotImplementedError("override the fixture `table`")

    @pytest.fixture
    def samples(self) -> AnySamples:
        """Return the values to put through the table."""
        raise NotImplementedError("override the fixture `samples`")

    @pytest.fixture
    def table_samples(self, samples: AnySamples) -> AnySamples:
        """Return the samples under the name that the rules use."""
        return samples

    @pytest.fixture
    def open_table(self, table: AnyTable, samples: AnySamples) -> OpenTable:
        """Open the table; a table without a process of its own is the same at each opening."""

        @contextlib.asynccontextmanager
        async def opened(*, prepared: bool = True) -> AsyncIterator[AnyTable]:
            if prepared:
                await samples.prepare(table)
            yield table

        return opened
