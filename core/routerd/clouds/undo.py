"""Whether an entry of the journal can be undone, and by which change. Pure.

Only the latest change of a key can be undone, and only while its value is still there. Any other undo
would overwrite a later change of another program or person.
"""

import operator
from collections.abc import Callable, Iterable

from routerd.clouds.gate import AnyChange
from routerd.clouds.words import decoded, deed_of, present_text
from routerd.errors import ActionRefused
from routerd.model.change import Change
from routerd.store import JournalEntry

Agrees = Callable[[object, object], bool]

_CHANGED_NOTHING = ("refused", "superseded")
"""Outcomes of entries that found somebody else's in place and left it alone."""


def reversal(entry: JournalEntry) -> AnyChange:
    """Return the change that undoes an entry, by its record; `ActionRefused` says why there is none."""
    if entry.outcome.startswith(_CHANGED_NOTHING):
        raise ActionRefused(f"entry {entry.number}: it changed nothing, so there is nothing to undo")
    try:
        made = decoded(entry.table, entry.key_value, entry.before, entry.after)
    except ValueError as error:
        raise ActionRefused(
            f"entry {entry.number}: nothing was done; this routerd cannot read it ({error}); "
            f"see `routerd actions show {entry.number}`"
        ) from error
    if entry.table == "forwarding" and made.before is None:
        raise ActionRefused(
            f"entry {entry.number}: nothing was done; the earlier setting of {made.key} is unknown"
        )
    return Change(key=made.key, before=made.after, after=made.before)


def undoing(
    entry: JournalEntry, history: Iterable[JournalEntry], present: object, agrees: Agrees = operator.eq
) -> AnyChange:
    """Return the change that undoes `entry` now; `history` is that of its key, `present` the value there.

    `ActionRefused` names the value that is there and says why nothing is done.
    """
    change = reversal(entry)
    for later in history:
        if later.number > entry.number and _happened(later, present, agrees):
            raise ActionRefused(_overtaken(entry, later))
    if _same(change.before, present, agrees):
        return Change(key=change.key, before=present, after=change.after)
    made = deed_of(entry.scope, entry.table, Change(key=change.key, before=change.after, after=change.before))
    doubt = "" if entry.outcome == "done" else ", so it did not happen, or somebody has changed it since"
    raise ActionRefused(
        f"entry {entry.number} was to {made.text}, but there is now "
        f"{present_text(entry.table, present)}{doubt}; nothing was done"
    )


def outlook(entry: JournalEntry, history: Iterable[JournalEntry]) -> tuple[bool, str]:
    """Return whether the journal allows an undo of an entry, and its effect or the obstacle in words."""
    try:
        change = reversal(entry)
    except ActionRefused as refused:
        return False, str(refused)
    for later in history:
        if later.number > entry.number and later.outcome == "done":
            return False, _overtaken(entry, later)
    text = deed_of(entry.scope, entry.table, change).text
    held = "" if entry.undoes is not None else ", and leave it so until somebody approves otherwise"
    there = present_text(entry.table, change.before)
    return True, f"would {text}{held}; only if there still is {there}"


def _overtaken(entry: JournalEntry, later: JournalEntry) -> str:
    if later.undoes == entry.number:
        return f"entry {entry.number} was undone already, by entry {later.number}"
    return (
        f"entry {later.number} changed the same thing after entry {entry.number}; "
        f"undo entry {later.number} first, if it is to go"
    )


def _happened(entry: JournalEntry, present: object, agrees: Agrees) -> bool:
    """Say whether an entry took effect; after a failure or an interruption the present value decides."""
    if entry.outcome == "done":
        return True
    if entry.outcome.startswith(_CHANGED_NOTHING):
        return False
    try:
        made = decoded(entry.table, entry.key_value, entry.before, entry.after)
    except ValueError:
        return True
    return _same(made.after, present, agrees)


def _same(wanted: object, present: object, agrees: Agrees) -> bool:
    if wanted is None or present is None:
        return wanted is present
    return agrees(wanted, present)
