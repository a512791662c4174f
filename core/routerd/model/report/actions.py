"""Changes of clouds, pending and made."""

from datetime import datetime
from typing import Any, Literal

import attrs

from routerd.model.change import Verb
from routerd.model.report import OPTIONAL
from routerd.model.report.plan import ActionState

Outcome = Literal["open", "done", "superseded", "failed", "refused"]


@attrs.frozen(kw_only=True)
class CloudChange:
    """A change in a cloud, in words and by its parts; parts that do not apply are none."""

    profile: str
    table: str
    verb: Verb
    key: str
    route_table: str | None = None
    prefix: str | None = None
    nic: str | None = None
    from_: str | None = None
    to: str | None = None
    text: str = ""


@attrs.frozen(kw_only=True)
class OpenAction(CloudChange):
    """A change that was not made yet, by its id; `trouble` says why it failed or would be refused."""

    id: str
    state: ActionState
    why: str = ""
    trouble: str = ""
    when: datetime | None = None
    approved: datetime | None = None
    held_since: datetime | None = None


@attrs.frozen(kw_only=True)
class WrittenValues:
    """Values of an entry as the state file has them, for an operator who undoes it by hand."""

    key: Any  # Any: JSON
    before: Any
    after: Any


@attrs.frozen(kw_only=True)
class MadeAction(CloudChange):
    """An entry of the journal, by its number."""

    number: int
    state: Outcome
    error: str = ""
    when: datetime | None = None
    finished: datetime | None = None
    undoes: int | None = None
    undone_by: int | None = None
    written: WrittenValues | None = attrs.field(default=None, metadata=OPTIONAL)


@attrs.frozen(kw_only=True)
class ActionList:
    """Changes that were not made yet, and the latest of the journal."""

    open: tuple[OpenAction, ...] = ()
    journal: tuple[MadeAction, ...] = ()
    notes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class UndoOutlook:
    """Whether an entry can be undone, and what that would do or why not."""

    possible: bool
    text: str


@attrs.frozen(kw_only=True)
class ActionDetails:
    """One change, the latest entries of its key, and for an entry what undoing it would do."""

    action: OpenAction | MadeAction
    history: tuple[MadeAction, ...] = ()
    undo: UndoOutlook | None = None
    notes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ActionText:
    """A change by its id, in words."""

    id: str
    text: str


@attrs.frozen(kw_only=True)
class ActionApproval:
    """Changes that were approved, and keys that were released after an undo."""

    approved: tuple[ActionText, ...] = ()
    released: tuple[ActionText, ...] = ()


@attrs.frozen(kw_only=True)
class ActionUndo:
    """An entry that was undone, by the entry `number`; `held` says that its key is left alone now."""

    undone: int
    number: int
    text: str
    held: bool
