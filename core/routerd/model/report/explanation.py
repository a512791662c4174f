"""Why an address goes where it goes."""

from typing import Literal

import attrs

from routerd.model.report import NEVER, OPTIONAL

StepState = Literal["ok", "bad", "note"]


@attrs.frozen
class Step:
    """One thing that was checked: the facts, and whether they are as they must be.

    A `note` does not apply, or says nothing for or against. `blame` is a bad step as a clause of
    the verdict, and is not part of the document; a bad step without it is not the cause.
    """

    title: str
    state: StepState
    text: str
    blame: str = attrs.field(default="", metadata=NEVER)


@attrs.frozen(kw_only=True)
class Explanation:
    """Steps from claim to cloud route, and the verdict; `reachable` as far as this router knows.

    `source` is where the packets come from, if the question named it.
    """

    address: str
    source: str = attrs.field(default="", metadata=OPTIONAL)
    reachable: bool
    verdict: str
    steps: tuple[Step, ...] = ()
