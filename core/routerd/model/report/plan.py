"""Changes that a pass would make, and the reasons that hold them back."""

from typing import Literal

import attrs

from routerd.model.change import Verb
from routerd.model.report import OPTIONAL

ActionState = Literal["planned", "waiting", "approved", "held", "auto"]
"""Only planned (mode plan), waits for approval, was approved, held after an undo, made by itself."""


@attrs.frozen(kw_only=True)
class ActionOutlook:
    """What becomes of a change in a cloud: its id, its state, and the state in words."""

    id: str
    state: ActionState
    text: str = ""


@attrs.frozen(kw_only=True)
class PlannedChange:
    """A change of a table; `before` and `after` are values as text. `action` is for clouds only."""

    table: str
    verb: Verb
    key: str
    before: str | None = None
    after: str | None = None
    action: ActionOutlook | None = attrs.field(default=None, metadata=OPTIONAL)


@attrs.frozen(kw_only=True)
class RefusedChange(PlannedChange):
    """A change that its provider would refuse, and why."""

    reason: str = ""


@attrs.frozen(kw_only=True)
class Plan:
    """What would change. `unreadable` are reasons; nothing is deleted from `incomplete` tables."""

    changes: tuple[PlannedChange, ...] = ()
    refused: tuple[RefusedChange, ...] = ()
    unreadable: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
