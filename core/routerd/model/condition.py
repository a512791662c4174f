"""The state of a resource in words, for the status."""

from typing import Literal

import attrs

Status = Literal["True", "False", "Unknown"]


@attrs.frozen(kw_only=True)
class Condition:
    """One statement about a resource; `reason` is a stable CamelCase code, `message` is for people.

    A condition whose status is not `True` makes the router not ready. A condition of the type `Note`
    asks for no action.
    """

    type: str
    status: Status
    reason: str = ""
    message: str = ""
