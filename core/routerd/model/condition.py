"""What is true of a resource right now, in the words that a person reads in the status."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import attrs

Status = Literal["True", "False", "Unknown"]


@attrs.frozen(kw_only=True)
class Condition:
    """One statement about a resource; `reason` is a stable CamelCase code, `message` for people.

    One whose status is not `True` keeps the router from being ready. One of the type `Note` is
    something to know that needs no mending.
    """

    type: str
    status: Status
    reason: str = ""
    message: str = ""


@attrs.frozen(kw_only=True)
class ResourceStatus:
    """Phase, conditions and observed facts of one resource.

    `phase` is one of the words of the field: Pending, Ready, Up, Established, Derived, Installed,
    Degraded, Error, Backoff, Down, Planned. `details` are printed as they are.
    """

    ref: str
    phase: str
    conditions: tuple[Condition, ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    updated_at: datetime | None = None
