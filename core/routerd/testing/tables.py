"""A table in memory, with foreign things in it and failures on request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from routerd.errors import NotOwnedError, ProviderError
from routerd.model.change import Change
from routerd.spi import apply_each
from routerd.testing import outside
from routerd.testing.faults import FaultPlan

K = TypeVar("K")
V = TypeVar("V")


class FakeTable(Generic[K, V]):
    """Implements `spi.Table`.

    `content` has our entries, `foreign` the foreign ones in the way, `refusals` the errors of single
    keys. `writes` lists the changes that had an effect.

    Added in 1.0.
    """

    def __init__(
        self,
        content: Mapping[K, V] | None = None,
        *,
        foreign: Mapping[K, V] | None = None,
        refusals: Mapping[K, ProviderError] | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        self.content: dict[K, V] = dict(content or {})
        self.foreign: dict[K, V] = dict(foreign or {})
        self.refusals: dict[K, ProviderError] = dict(refusals or {})
        self.faults = faults or FaultPlan()
        self.writes: list[Change[K, V]] = []
        self.observations = 0

    async def observe(self) -> Mapping[K, V]:
        """Return a copy of our entries."""
        self.observations += 1
        self.faults.reach("observe")
        outside.reach("observe")
        await asyncio.sleep(0)
        return dict(self.content)

    async def apply(self, changes: Sequence[Change[K, V]]) -> Mapping[K, ProviderError]:
        """Make the changes one by one, yielding to the loop between them."""
        return await apply_each(changes, self._make_in_turn)

    async def _make_in_turn(self, change: Change[K, V]) -> None:
        await asyncio.sleep(0)
        self._make(change)
        await asyncio.sleep(0)

    def _make(self, change: Change[K, V]) -> None:
        self.faults.reach(f"{change.verb} {change.key}")
        outside.reach(f"{change.verb} {change.key}")
        if change.key in self.refusals:
            raise self.refusals[change.key]
        if change.key in self.foreign:
            raise NotOwnedError(f"{change.key} is taken by {self.foreign[change.key]}, which is not ours")
        if self.content.get(change.key) == change.after:
            return
        self.writes.append(change)
        if change.after is None:
            del self.content[change.key]
        else:
            self.content[change.key] = change.after
