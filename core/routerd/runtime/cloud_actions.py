"""Operations of people on changes of clouds: list, approve, undo.

An approval is recorded here and the loop acts on it. An undo is made here, between two passes of the
loop, so that only one writer changes that cloud at a time.
"""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import attrs

from routerd.clouds.action_list import (
    Present,
    Wanted,
    hold_id,
    is_number,
    listed,
    normal,
    shown,
    unknown,
)
from routerd.clouds.gate import AnyChange, Gate, id_of
from routerd.clouds.journal import JournaledTable
from routerd.clouds.undo import undoing
from routerd.clouds.words import deed_of, key_of, name_in_loop
from routerd.errors import ActionRefused, ProviderError
from routerd.model.change import Change
from routerd.model.report.actions import ActionApproval, ActionDetails, ActionList, ActionText, ActionUndo
from routerd.reconcile.guard import asked, contained, content_of
from routerd.reconcile.loop import Binding
from routerd.runtime.router import Router
from routerd.spi import Clock, Logger
from routerd.store import Approval, Hold, JournalBook, JournalEntry
from routerd.store.codec import to_json


class Actions:
    """Implements `control.ActionDesk` for a running router."""

    def __init__(self, router: Router, journal: JournalBook, *, clock: Clock, log: Logger) -> None:
        self._router = router
        self._journal = journal
        self._clock = clock
        self._log = log

    async def listing(self, *, profile: str | None, limit: int) -> ActionList:
        """Return the open changes and the latest of the journal, oldest first."""
        found = await asyncio.to_thread(listed, self._journal, self._present(), profile=profile, limit=limit)
        return attrs.evolve(found, notes=tuple(self._notes(profile)))

    async def show(self, action: str) -> ActionDetails:
        """Return everything about one action; `ActionRefused` when there is none."""
        return await asyncio.to_thread(shown, self._journal, action, self._present())

    async def approve(self, actions: Sequence[str], *, every: bool, profile: str | None) -> ActionApproval:
        """Approve changes by their ids, or all that wait; release held keys by their ids.

        All of it or, with an `ActionRefused`, nothing.
        """
        holds = await asyncio.to_thread(self._journal.holds)
        before = {id_of(each.digest): each for each in await asyncio.to_thread(self._journal.approvals)}
        wanted = {id_of(each.digest): each for each in self._wanted()}
        if every:
            actions = [
                action
                for action, each in wanted.items()
                if each.gate.state(each.change) == "waiting"
                and not each.trouble
                and profile in (None, each.gate.scope)
            ]
        approved: dict[str, Wanted] = {}
        released: dict[str, Hold] = {}
        for typed in actions:
            action = normal(typed)
            hold = _hold_of(action, wanted.get(action), holds)
            if hold is not None:
                released[action] = hold
            if action in wanted:
                _check(typed, wanted[action].gate)
                approved[action] = wanted[action]
            elif hold is None and action not in before:
                raise _not_there(typed)
        kept = [self._approval(each) for each in approved.values() if each.gate.mode == "approve"]
        await asyncio.to_thread(self._journal.decide, kept, tuple(released.values()))
        await self._wake(
            {each.place[:2] for each in approved.values()}
            | {(hold.scope, hold.table) for hold in released.values()}
        )
        texts = {action: _text(each) for action, each in approved.items()}
        left = {action: _held_text(hold) for action, hold in released.items() if action not in approved}
        for event, found in (("cloud.approved", texts), ("cloud.released", left)):
            for action, text in found.items():
                self._log.info(event, action=action, change=text)
        return ActionApproval(
            approved=tuple(ActionText(id=action, text=text) for action, text in texts.items()),
            released=tuple(ActionText(id=action, text=text) for action, text in left.items()),
        )

    async def undo(self, number: int) -> ActionUndo:
        """Restore the value before an entry, hold its key, and return the new entry.

        `ActionRefused` says what is there and why nothing was done, or that the undo failed.
        """
        entry = await asyncio.to_thread(self._journal.entry, number)
        if entry is None:
            raise ActionRefused(f"entry {number}: not in the journal; see `routerd actions list`")
        name = name_in_loop(entry.table, entry.scope)
        if name not in self._router.gates():
            why = self._router.knowledge.waiting.get(f"fabric/{entry.scope}", "the file has no such profile")
            raise ActionRefused(f"profile {entry.scope}: not available; {why}; nothing was done")
        async with self._router.loop.exclusive(name) as binding:
            change, made = await self._undo(binding, entry)
        deed = deed_of(entry.scope, entry.table, change)
        self._log.info("cloud.undone", entry=number, by=made, change=deed.text)
        return ActionUndo(undone=number, number=made, text=deed.text, held=entry.undoes is None)

    # --- how ---------------------------------------------------------------------------------------

    async def _undo(self, binding: Binding, entry: JournalEntry) -> tuple[AnyChange, int]:
        table = cast("JournaledTable", binding.table)
        try:
            ask = partial(asked, log=self._log, table=binding.name, deadline=binding.deadline)
            seen = await ask(table.observe, call="observe", plugin=binding.plugin)
            with contained(self._log, table=binding.name, call="observe", plugin=binding.plugin):
                observed = content_of(seen)
        except ProviderError as error:
            raise ActionRefused(f"{binding.name}: cannot be read; {error}; nothing was done") from error
        history = await asyncio.to_thread(self._journal.of_key, entry.scope, entry.table, entry.key)
        present = next((value for key, value in observed.items() if str(key) == entry.key), None)
        change = undoing(entry, history, present, table.agrees)
        try:
            made = await ask(
                lambda: table.undo(change, undoes=entry.number), call="apply", plugin=binding.plugin
            )
        except ProviderError as error:
            doubt = "; the cloud may have made the change; see its console" if error.retryable else ""
            raise ActionRefused(f"entry {entry.number}: not undone; {error}{doubt}") from error
        return change, made

    def _present(self) -> Present:
        reports = self._router.loop.reports()
        troubles = {
            (gate.scope, gate.table, str(key)): str(pending.error)
            for name, gate in self._router.gates().items()
            if name in reports
            for key, pending in reports[name].pending.items()
        }
        return Present(wanted=tuple(self._wanted()), troubles=troubles)

    def _wanted(self) -> Iterator[Wanted]:
        reports = self._router.loop.reports()
        for name, gate in sorted(self._router.gates().items()):
            report = reports.get(name)
            if report is None:
                continue
            for change in report.planned:
                yield Wanted(gate=gate, change=change)
            for change, error in report.refused:
                yield Wanted(gate=gate, change=change, trouble=f"would be refused: {error}")

    def _notes(self, profile: str | None) -> Iterator[str]:
        reports = self._router.loop.reports()
        for name, text in sorted(self._router.knowledge.waiting.items()):
            if name.startswith("fabric/") and profile in (None, name.removeprefix("fabric/")):
                yield f"{name.removeprefix('fabric/')}: the wanted changes are not known yet; {text}"
        for name, gate in sorted(self._router.gates().items()):
            report = reports.get(name)
            if report is not None and not report.readable and profile in (None, gate.scope):
                yield f"{name}: cannot be read, so this list may be out of date; {report.error}"

    def _approval(self, wanted: Wanted) -> Approval:
        change: Change[object, object] = wanted.change
        return Approval(
            scope=wanted.gate.scope,
            table=wanted.gate.table,
            digest=wanted.digest,
            verb=change.verb,
            key=str(change.key),
            key_value=to_json(change.key),
            before=to_json(change.before),
            after=to_json(change.after),
            approved_at=self._clock.now(),
        )

    async def _wake(self, places: set[tuple[str, str]]) -> None:
        for scope, table in places:
            name = name_in_loop(table, scope)
            gate = self._router.gates().get(name)
            if gate is not None:
                await asyncio.to_thread(gate.read)
                self._router.loop.reread(name)


def _hold_of(action: str, wanted: Wanted | None, holds: Sequence[Hold]) -> Hold | None:
    if wanted is not None:
        return next((each for each in holds if (each.scope, each.table, each.key) == wanted.place), None)
    return next((each for each in holds if hold_id(each) == action), None)


def _check(typed: str, gate: Gate) -> None:
    if gate.mode == "plan":
        raise ActionRefused(
            f"change {typed}: only planned; profile {gate.scope} is in mode plan; nothing was approved; "
            "set mode: approve or auto in the file and restart routerd"
        )


def _not_there(typed: str) -> ActionRefused:
    if is_number(typed.strip()):
        return ActionRefused(f"{typed}: an entry of the journal; it can be undone, not approved")
    refusal = unknown(typed)
    return ActionRefused(f"{refusal}; nothing was approved")


def _text(wanted: Wanted) -> str:
    return deed_of(wanted.gate.scope, wanted.gate.table, wanted.change).text


def _held_text(hold: Hold) -> str:
    """Return a held key as a person writes it, also one that this routerd cannot read."""
    return f"{hold.scope} {key_of(hold.table, hold.key_value)}"
