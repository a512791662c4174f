"""What `routerd actions` shows, as documents: made from the state file and from what is wanted now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import attrs

from routerd.clouds.gate import AnyChange, Gate, id_of
from routerd.clouds.undo import outlook
from routerd.clouds.words import Deed, action_document, deed_of, written_deed
from routerd.control.ports import ACTIONS_LIMIT
from routerd.errors import ActionRefused
from routerd.spi import JSONValue
from routerd.store import Approval, Hold, JournalBook, JournalEntry
from routerd.store.codec import dumps

Document = dict[str, JSONValue]

_HISTORY = 10

Outcome = Literal["open", "done", "failed", "refused"]


Place = tuple[str, str, str]
"""Scope, table, and key as text: what a change is of."""


@attrs.frozen(kw_only=True)
class Wanted:
    """A change that is wanted and was not made at the last look; `trouble` is why it would be refused."""

    gate: Gate
    change: AnyChange
    trouble: str = ""

    @property
    def digest(self) -> str:
        """Return what tells it from every other change."""
        return self.gate.digest(self.change)

    @property
    def place(self) -> Place:
        """Return what it changes."""
        return self.gate.scope, self.gate.table, str(self.change.key)


@attrs.frozen(kw_only=True)
class Present:
    """What a running router knows beside the state file; `troubles` say why changes failed lately."""

    wanted: Sequence[Wanted] = ()
    troubles: Mapping[Place, str] = attrs.field(factory=dict)


NOTHING = Present()


def hold_id(hold: Hold) -> str:
    """Return the id by which a held key is released while no change of it is wanted."""
    return id_of(hashlib.sha256(dumps(["hold", hold.scope, hold.table, hold.key]).encode()).hexdigest())


def listed(
    journal: JournalBook,
    present: Present = NOTHING,
    *,
    profile: str | None = None,
    limit: int = ACTIONS_LIMIT,
) -> Document:
    """Return what is not made yet, and the latest of the journal; of one profile or of all."""
    return {
        "open": [document for document, _ in _items(journal, present, profile)],
        "journal": _story(journal.latest(limit, profile)),
    }


def shown(journal: JournalBook, action: str, present: Present = NOTHING) -> Document:
    """Return everything about one action, by its id or number; `ActionRefused` when there is none."""
    if is_number(action):
        entry = journal.entry(int(action))
        if entry is None:
            raise ActionRefused(f"the journal has no entry {action}; `routerd actions list` has the latest")
        history = journal.of_key(entry.scope, entry.table, entry.key)
        possible, text = outlook(entry, history)
        return {
            "action": {**entry_document(entry, history), "written": _written(entry)},
            "history": _story(history)[-_HISTORY:],
            "undo": {"possible": possible, "text": text},
        }
    for document, (scope, table, key) in _items(journal, present, None):
        if document["id"] == normal(action):
            story = _story(journal.of_key(scope, table, key))
            return {"action": document, "history": story[-_HISTORY:], "undo": None}
    raise unknown(action)


def unknown(action: str) -> ActionRefused:
    """Return the refusal of an id that is not there."""
    return ActionRefused(
        f"no change {action} waits here; it may have been made, or be another one by now: "
        "see `routerd actions list`"
    )


def is_number(action: str) -> bool:
    """Say whether what somebody typed is an entry's number."""
    return action.isascii() and action.isdigit() and len(action) < 19


def normal(action: str) -> str:
    """Return an id as it is compared."""
    return action.strip().lower()


def entry_document(entry: JournalEntry, later: Sequence[JournalEntry]) -> Document:
    """Return an entry of the journal; who has undone it is among `later` ones."""
    undone = [each.number for each in later if each.undoes == entry.number and each.outcome == "done"]
    word, _, detail = entry.outcome.partition(": ")
    return {
        "number": entry.number,
        **_deed(entry).document(),
        "state": word or "open",
        "error": detail,
        "when": stamp(entry.begun_at),
        "finished": stamp(entry.finished_at),
        "undoes": entry.undoes,
        "undoneBy": undone[-1] if undone else None,
    }


def stamp(moment: datetime | None) -> str | None:
    """Return a time in UTC, to the second."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _items(journal: JournalBook, present: Present, profile: str | None) -> Iterator[tuple[Document, Place]]:
    """Yield what is not made: wanted changes, then approvals and holds that no wanted change stands for."""
    approvals = {each.digest: each for each in journal.approvals(profile)}
    holds = {(each.scope, each.table, each.key): each for each in journal.holds(profile)}
    for each in present.wanted:
        if profile in (None, each.gate.scope):
            approval = approvals.pop(each.digest, None)
            hold = holds.pop(each.place, None)
            yield _wanted_document(each, approval, hold), each.place
    for approval in approvals.values():
        place = (approval.scope, approval.table, approval.key)
        yield _approval_document(approval, present.troubles.get(place, "")), place
    for hold in holds.values():
        yield _hold_document(journal, hold), (hold.scope, hold.table, hold.key)


def _wanted_document(wanted: Wanted, approval: Approval | None, hold: Hold | None) -> Document:
    action = action_document(wanted.gate, wanted.change)
    deed = deed_of(wanted.gate.scope, wanted.gate.table, wanted.change)
    return {
        "id": action["id"],
        **deed.document(),
        "state": action["state"],
        "why": wanted.trouble or action["text"],
        "trouble": wanted.trouble,
        "when": stamp(wanted.gate.since(wanted.change)),
        "approved": stamp(approval.approved_at) if approval is not None else None,
        "heldSince": stamp(hold.held_at) if hold is not None else None,
    }


def _approval_document(approval: Approval, trouble: str) -> Document:
    deed = written_deed(
        approval.scope, approval.table, approval.verb, approval.key_value, approval.before, approval.after
    )
    return {
        "id": id_of(approval.digest),
        **deed.document(),
        "state": "approved",
        "why": f"approved, tried again later: {trouble}" if trouble else "approved, not made yet",
        "trouble": trouble,
        "when": stamp(approval.approved_at),
        "approved": stamp(approval.approved_at),
        "heldSince": None,
    }


def _hold_document(journal: JournalBook, hold: Hold) -> Document:
    action = hold_id(hold)
    undo = journal.entry(hold.entry)
    certain = undo is None or undo.outcome == "done"
    since = f"since entry {hold.entry} {'undid it' if certain else 'was to undo it'}"
    undone = journal.entry(undo.undoes) if undo is not None and undo.undoes is not None else None
    deed = (
        _deed(undone)
        if undone is not None
        else Deed(
            scope=hold.scope, table=hold.table, verb="replace", key=hold.key_value, before=None, after=None
        )
    )
    return {
        "id": action,
        **deed.document(),
        "state": "held",
        "why": f"left alone {since}: routerd actions approve {action} releases it",
        "trouble": "",
        "when": stamp(hold.held_at),
        "approved": None,
        "heldSince": stamp(hold.held_at),
    }


def _story(entries: Sequence[JournalEntry]) -> list[JSONValue]:
    undos = [each for each in entries if each.undoes is not None]
    return [entry_document(each, undos) for each in entries]


def _written(entry: JournalEntry) -> Document:
    """Return the entry's values as they are in the file, for who has to undo it by hand."""
    return {"key": entry.key_value, "before": entry.before, "after": entry.after}


def _deed(entry: JournalEntry) -> Deed:
    return written_deed(entry.scope, entry.table, entry.verb, entry.key_value, entry.before, entry.after)
