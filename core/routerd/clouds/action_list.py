"""What `routerd actions` shows, as values made from the state file and from the changes wanted now."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import attrs

from routerd.clouds.gate import AnyChange, Gate, id_of
from routerd.clouds.undo import outlook
from routerd.clouds.words import Deed, deed_of, outlook_of, written_deed
from routerd.control.ports import ACTIONS_LIMIT
from routerd.errors import ActionRefused
from routerd.model.report.actions import (
    ActionDetails,
    ActionList,
    MadeAction,
    OpenAction,
    Outcome,
    UndoOutlook,
    WrittenValues,
)
from routerd.store import Approval, Hold, JournalBook, JournalEntry
from routerd.store.codec import dumps

_HISTORY = 10

Place = tuple[str, str, str]
"""Scope, table, and key as text: the place of a change."""


@attrs.frozen(kw_only=True)
class Wanted:
    """A wanted change that the last pass did not make; `trouble` is why it would be refused."""

    gate: Gate
    change: AnyChange
    trouble: str = ""

    @property
    def digest(self) -> str:
        """Return the digest that tells it from every other change."""
        return self.gate.digest(self.change)

    @property
    def place(self) -> Place:
        """Return the place that it changes."""
        return self.gate.scope, self.gate.table, str(self.change.key)


@attrs.frozen(kw_only=True)
class Present:
    """The knowledge of a running router beside the state file; `troubles` are recent failures."""

    wanted: Sequence[Wanted] = ()
    troubles: Mapping[Place, str] = attrs.field(factory=dict)


NOTHING = Present()


def hold_id(hold: Hold) -> str:
    """Return the id that releases a held key while no change of it is wanted."""
    return id_of(hashlib.sha256(dumps(["hold", hold.scope, hold.table, hold.key]).encode()).hexdigest())


def listed(
    journal: JournalBook,
    present: Present = NOTHING,
    *,
    profile: str | None = None,
    limit: int = ACTIONS_LIMIT,
) -> ActionList:
    """Return the open changes and the latest of the journal, of one profile or of all."""
    return ActionList(
        open=tuple(action for action, _ in _items(journal, present, profile)),
        journal=_story(journal.latest(limit, profile)),
    )


def shown(journal: JournalBook, action: str, present: Present = NOTHING) -> ActionDetails:
    """Return everything about one action, by its id or number; `ActionRefused` when there is none."""
    if is_number(action):
        entry = journal.entry(int(action))
        if entry is None:
            raise ActionRefused(f"entry {action}: not in the journal; see `routerd actions list`")
        history = journal.of_key(entry.scope, entry.table, entry.key)
        possible, text = outlook(entry, history)
        # The values as the file has them, for an operator who has to undo the entry by hand.
        written = WrittenValues(key=entry.key_value, before=entry.before, after=entry.after)
        return ActionDetails(
            action=attrs.evolve(_made(entry, history), written=written),
            history=_story(history)[-_HISTORY:],
            undo=UndoOutlook(possible=possible, text=text),
        )
    for found, (scope, table, key) in _items(journal, present, None):
        if found.id == normal(action):
            return ActionDetails(action=found, history=_story(journal.of_key(scope, table, key))[-_HISTORY:])
    raise unknown(action)


def unknown(action: str) -> ActionRefused:
    """Return the refusal of an unknown id."""
    return ActionRefused(
        f"change {action}: not waiting here; it was made, or another change replaced it; "
        "see `routerd actions list`"
    )


def is_number(action: str) -> bool:
    """Say whether a typed text is the number of an entry."""
    return action.isascii() and action.isdigit() and len(action) < 19


def normal(action: str) -> str:
    """Return an id in the form in which ids are compared."""
    return action.strip().lower()


def _made(entry: JournalEntry, later: Sequence[JournalEntry]) -> MadeAction:
    """Return an entry of the journal; the one that undid it is among `later` ones."""
    undone = [each.number for each in later if each.undoes == entry.number and each.outcome == "done"]
    word, _, detail = entry.outcome.partition(": ")
    return MadeAction(
        **_deed(entry).parts(),
        number=entry.number,
        state=cast("Outcome", word or "open"),
        error=detail,
        when=entry.begun_at,
        finished=entry.finished_at,
        undoes=entry.undoes,
        undone_by=undone[-1] if undone else None,
    )


def _items(journal: JournalBook, present: Present, profile: str | None) -> Iterator[tuple[OpenAction, Place]]:
    """Yield open changes: wanted ones, then approvals and holds without a wanted change."""
    approvals = {each.digest: each for each in journal.approvals(profile)}
    holds = {(each.scope, each.table, each.key): each for each in journal.holds(profile)}
    for each in present.wanted:
        if profile in (None, each.gate.scope):
            approval = approvals.pop(each.digest, None)
            hold = holds.pop(each.place, None)
            yield _wanted_action(each, approval, hold), each.place
    for approval in approvals.values():
        place = (approval.scope, approval.table, approval.key)
        yield _approved_action(approval, present.troubles.get(place, "")), place
    for hold in holds.values():
        yield _held_action(journal, hold), (hold.scope, hold.table, hold.key)


def _wanted_action(wanted: Wanted, approval: Approval | None, hold: Hold | None) -> OpenAction:
    outlook = outlook_of(wanted.gate, wanted.change)
    return OpenAction(
        **deed_of(wanted.gate.scope, wanted.gate.table, wanted.change).parts(),
        id=outlook.id,
        state=outlook.state,
        why=wanted.trouble or outlook.text,
        trouble=wanted.trouble,
        when=wanted.gate.since(wanted.change),
        approved=approval.approved_at if approval is not None else None,
        held_since=hold.held_at if hold is not None else None,
    )


def _approved_action(approval: Approval, trouble: str) -> OpenAction:
    deed = written_deed(
        approval.scope, approval.table, approval.verb, approval.key_value, approval.before, approval.after
    )
    return OpenAction(
        **deed.parts(),
        id=id_of(approval.digest),
        state="approved",
        why=f"approved; will retry later: {trouble}" if trouble else "approved, not made yet",
        trouble=trouble,
        when=approval.approved_at,
        approved=approval.approved_at,
    )


def _held_action(journal: JournalBook, hold: Hold) -> OpenAction:
    action = hold_id(hold)
    undo = journal.entry(hold.entry)
    certain = undo is None or undo.outcome == "done"
    since = f"since entry {hold.entry} {'undid it' if certain else 'tried to undo it'}"
    undone = journal.entry(undo.undoes) if undo is not None and undo.undoes is not None else None
    deed = (
        _deed(undone)
        if undone is not None
        else Deed(
            scope=hold.scope, table=hold.table, verb="replace", key=hold.key_value, before=None, after=None
        )
    )
    return OpenAction(
        **deed.parts(),
        id=action,
        state="held",
        why=f"left alone {since}: routerd actions approve {action} releases it",
        when=hold.held_at,
        held_since=hold.held_at,
    )


def _story(entries: Sequence[JournalEntry]) -> tuple[MadeAction, ...]:
    undos = [each for each in entries if each.undoes is not None]
    return tuple(_made(each, undos) for each in entries)


def _deed(entry: JournalEntry) -> Deed:
    return written_deed(entry.scope, entry.table, entry.verb, entry.key_value, entry.before, entry.after)
