"""A cloud's table with a journal: every change is recorded before it is made.

The journal says which entries are ours in an account that others use too, and the values before ours,
so that `routerd actions undo` and `routerd down` can restore them.

What complicates this:
- The process may die between the record, the change and the outcome; an open entry counts as ours.
- An API may answer from an old reading, so an absence never proves a deletion.
- An entry that stays absent lapses, or a later entry of another program would count as ours.
"""

import asyncio
import contextlib
import operator
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from routerd.clouds.gate import Gate
from routerd.clouds.lapse import Absences
from routerd.clouds.words import decoded
from routerd.errors import (
    NotOwnedError,
    ProviderError,
    StoreError,
    SupersededError,
    TransientError,
    UnsupportedError,
)
from routerd.model.change import Change
from routerd.spi import Clock, Logger, Table
from routerd.store import JournalBook, JournalEntry


class JournaledTable:
    """Wraps a provider's table; implements `spi.Table`.

    With `clock` it records the outcome of interrupted changes and, if it `lapses`, gives up absent keys.
    """

    def __init__(
        self,
        table: Table[Any, Any],
        journal: JournalBook,
        *,
        scope: str,
        name: str,
        gate: Gate | None = None,
        clock: Clock | None = None,
        log: Logger | None = None,
        lapses: bool = True,
    ) -> None:
        self._table = table
        self._journal = journal
        self._scope = scope
        self._name = name
        self._gate = gate
        self._clock = clock
        self._log = log
        self._lapses = lapses
        self._absences = Absences()
        self._owned: frozenset[str] = frozenset()

    async def observe(self) -> Mapping[Hashable, object]:
        """Return the observation of the provider, after reading the journal once for all keys."""
        try:
            self._owned = await asyncio.to_thread(self._read)
        except StoreError as error:
            raise TransientError(f"the journal cannot be read: {error}") from error
        observed = await self._table.observe()
        if self._clock is not None:
            await self._note_made(observed)
        if self._clock is not None and self._lapses:
            absent = self._owned - {str(key) for key in observed}
            gone = self._absences.noted(absent, self._clock.monotonic())
            if gone:
                await self._let_go(gone)
        return observed

    def agrees(self, desired: object, observed: object) -> bool:
        """Say whether a value needs no change; the provider's table decides if it can."""
        return bool(getattr(self._table, "agrees", operator.eq)(desired, observed))

    def permits(self, change: Change[Any, Any]) -> bool:
        """Say whether a change may be made: only an entry of ours by the journal may be deleted."""
        return change.verb != "delete" or str(change.key) in self._owned

    def foresee(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Hashable, ProviderError]:
        """Return the changes that the provider's table would refuse, if it can tell."""
        foresee = getattr(self._table, "foresee", None)
        return _failed(foresee(changes)) if foresee is not None else {}

    async def apply(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Hashable, ProviderError]:
        """Record the changes, make them, and record the outcome of each.

        A change that cannot be recorded is not made. When only its outcome cannot be recorded, the entry
        stays open and counts as ours.
        A superseded change is not a failure: the journal and the log say once what is there, and the key
        is no longer ours.
        """
        try:
            numbers = await asyncio.to_thread(self._journal.begin, self._scope, self._name, changes)
        except StoreError as error:
            return {change.key: _not_written(error) for change in changes}
        self._absences.forget(str(change.key) for change in changes)
        failures = await self._table.apply(changes)
        await self._finish(
            {
                number: _outcome(failures.get(change.key))
                for change, number in zip(changes, numbers, strict=True)
            }
        )
        for key in failures.keys() - (failed := _failed(failures)).keys():
            self._tell_superseded(key, failures[key])
        return failed

    async def undo(self, change: Change[Any, Any], *, undoes: int) -> int:
        """Make one change that undoes the entry `undoes`, hold its key, and return the new entry's number.

        Raises `ProviderError` when the change was not made, and `SupersededError` when ours had gone before.
        """
        try:
            number = await asyncio.to_thread(
                self._journal.begin_undo, self._scope, self._name, change, undoes=undoes
            )
        except StoreError as error:
            raise _not_written(error) from error
        self._absences.forget([str(change.key)])
        failure = (await self._table.apply([change])).get(change.key)
        await self._finish({number: _outcome(failure)})
        if failure is not None:
            raise failure
        return number

    def _tell_superseded(self, key: Hashable, error: ProviderError) -> None:
        if self._log is not None:
            self._log.info("cloud.superseded", profile=self._scope, key=str(key), found=str(error))

    def _read(self) -> frozenset[str]:
        if self._gate is not None:
            self._gate.read()
        return self._journal.owned_keys(self._scope, self._name)

    async def _note_made(self, observed: Mapping[Hashable, object]) -> None:
        """Record the outcome of interrupted changes that the observation proves.

        An absence never proves a deletion, because an answer may be old; an absent key lapses instead.
        """
        with contextlib.suppress(StoreError):
            opened = await asyncio.to_thread(self._journal.unfinished, self._scope, self._name)
            outcomes: dict[int, str] = {}
            for entry in opened:
                for change in _change(entry):
                    present = observed.get(change.key)
                    if present is not None and change.after is None:
                        outcomes[entry.number] = _STANDS
                    elif present is not None and present == change.after:
                        outcomes[entry.number] = "done"
            await self._finish(outcomes)

    async def _let_go(self, gone: frozenset[str]) -> None:
        """Give up keys that have been absent for long, except those that the table cannot judge."""
        with contextlib.suppress(StoreError):
            owned = await asyncio.to_thread(self._journal.owned, self._scope, self._name)
            deletions = [
                Change(key=change.key, before=change.after, after=None)
                for key in sorted(gone & owned.keys())
                for change in _change(owned[key])
            ]
            unknown = self.foresee(deletions) if deletions else {}
            # An entry that belongs to another program now is certainly not ours.
            keys = [
                str(each.key)
                for each in deletions
                if isinstance(unknown.get(each.key), (NotOwnedError, type(None)))
            ]
            await asyncio.to_thread(self._journal.lapse, self._scope, self._name, keys)

    async def _finish(self, outcomes: Mapping[int, str]) -> None:
        with contextlib.suppress(StoreError):
            await asyncio.to_thread(self._journal.finish, outcomes)


_STANDS = "failed: interrupted, and it is still there"


def _failed(found: Mapping[Hashable, ProviderError]) -> Mapping[Hashable, ProviderError]:
    """Return what has failed of what a table reports: a superseded change has not."""
    return {key: error for key, error in found.items() if not isinstance(error, SupersededError)}


def _outcome(failure: ProviderError | None) -> str:
    if failure is None:
        return "done"
    if isinstance(failure, SupersededError):
        return f"superseded: {failure}"
    # Only these two errors prove that nothing was changed.
    certain = isinstance(failure, (NotOwnedError, UnsupportedError))
    return f"{'refused' if certain else 'failed'}: {failure}"


def _change(entry: JournalEntry) -> Iterator[Change[Any, Any]]:
    """Yield the recorded change, unless this routerd cannot read it."""
    with contextlib.suppress(ValueError):
        yield decoded(entry.table, entry.key_value, entry.before, entry.after)


def _not_written(error: StoreError) -> TransientError:
    return TransientError(f"change not made: the journal cannot record it: {error}")
