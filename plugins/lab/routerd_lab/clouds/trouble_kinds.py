"""What trouble there is, and what becomes of a call that meets it; `trouble` lets it happen."""

from __future__ import annotations

from enum import StrEnum

import attrs

from routerd_lab.clouds.state import Failure

ANY = "*"


class Kind(StrEnum):
    """What happens to a call."""

    THROTTLE = "throttle"
    """Refused as too frequent; nothing is done."""
    FAIL = "fail"
    """Answered with an error; nothing is done."""
    FAIL_AFTER = "fail-after"
    """Done, and answered with an error all the same."""
    CLOSE = "close"
    """The connection is closed; nothing is done."""
    LOSE = "lose"
    """Done, and then the connection is closed without an answer."""
    SLOW = "slow"
    """Done, and answered after `seconds`."""


@attrs.frozen(kw_only=True)
class Trouble:
    """One kind of trouble for one operation, by the API's own name; `*` is every operation.

    The first `skip` calls go well, then every `every`th has trouble, `times` in all (None: without end).
    `failure` is what is answered instead of the dialect's own words.
    """

    kind: Kind
    operation: str = ANY
    skip: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    every: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    times: int | None = 1
    seconds: float = 0.0
    failure: Failure | None = None


@attrs.frozen(kw_only=True)
class Lag:
    """Eventual consistency: after a write, what was read before is answered again as it was.

    It lasts for `reads` reads of each URL or for `seconds`, whichever is longer; both are 0 when it is off.
    """

    reads: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    seconds: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    operation: str = ANY


@attrs.frozen(kw_only=True)
class Call:
    """A call that came in: the status that it was (or would have been) answered with, and its trouble.

    `status` is 0 if nothing was done and nothing answered.
    """

    operation: str
    status: int
    trouble: Kind | None = None
    stale: bool = False
