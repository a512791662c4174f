"""A cloud's table with a memory: every change is written down before it is made.

The journal says what is ours in an account that others use too, and what was there before, so
that `routerd down` can put it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

from routerd.errors import ProviderError, StoreError, TransientError
from routerd.model.change import Change
from routerd.spi import Table


class Journal(Protocol):
    """The store's journal of changes outside the host."""

    def journal_begin(self, scope: str, table: str, change: Change[Any, Any]) -> int:
        """Write down a change that is about to be made and return its number."""
        ...

    def journal_finish(self, entry: int, outcome: str) -> None:
        """Note `done`, or the error, of a change."""
        ...

    def owned_keys(self, scope: str, table: str) -> frozenset[str]:
        """Return the keys, as text, of a cloud's table that the journal says are ours."""
        ...


class JournaledTable:
    """Wraps a provider's table; implements `spi.Table`."""

    def __init__(self, table: Table[Any, Any], journal: Journal, *, scope: str, name: str) -> None:
        self._table = table
        self._journal = journal
        self._scope = scope
        self._name = name
        self._owned: frozenset[str] = frozenset()

    async def observe(self) -> Mapping[Hashable, object]:
        """Return what the provider observes; the journal is read with it, once for all keys."""
        try:
            self._owned = await asyncio.to_thread(self._journal.owned_keys, self._scope, self._name)
        except StoreError as error:
            raise TransientError(f"the journal cannot be read: {error}") from error
        return await self._table.observe()

    def agrees(self, desired: object, observed: object) -> bool:
        """Ask the provider's table, if it has an opinion, whether a value needs no change."""
        return bool(getattr(self._table, "agrees", operator.eq)(desired, observed))

    def permits(self, change: Change[Any, Any]) -> bool:
        """Say whether a change may be made: only what the journal said is ours may be deleted."""
        return change.verb != "delete" or str(change.key) in self._owned

    def foresee(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Hashable, ProviderError]:
        """Ask the provider's table, if it can tell, which changes it would refuse."""
        foresee = getattr(self._table, "foresee", None)
        return foresee(changes) if foresee is not None else {}

    async def apply(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Hashable, ProviderError]:
        """Write the changes down, make them, and note how each ended.

        What cannot be written down is not made. When only the end cannot be noted, the entry stays
        open, and an open entry counts as ours.
        """
        try:
            entries = {
                change.key: self._journal.journal_begin(self._scope, self._name, change) for change in changes
            }
        except StoreError as error:
            return {
                change.key: TransientError(f"not made, because of the journal: {error}") for change in changes
            }
        failures = await self._table.apply(changes)
        with contextlib.suppress(StoreError):
            for key, entry in entries.items():
                failure = failures.get(key)
                self._journal.journal_finish(entry, "done" if failure is None else f"failed: {failure}")
        return failures
