"""The kinds of trouble, and their effect on a call; `trouble` makes them happen."""

from enum import StrEnum

import attrs

from routerd_lab.clouds.state import Failure

ANY = "*"


class Kind(StrEnum):
    """The effect on a call."""

    THROTTLE = "throttle"
    """The API refuses the call as too frequent and does nothing."""
    FAIL = "fail"
    """The API answers with an error and does nothing."""
    FAIL_AFTER = "fail-after"
    """The API does the work and answers with an error all the same."""
    CLOSE = "close"
    """The API closes the connection and does nothing."""
    LOSE = "lose"
    """The API does the work and closes the connection without an answer."""
    SLOW = "slow"
    """The API does the work and answers after `seconds`."""


@attrs.frozen(kw_only=True)
class Trouble:
    """One kind of trouble for one operation, by the API's own name; `*` is every operation.

    The first `skip` calls go well, then every `every`th has trouble, `times` in all (None: without end).
    `failure` replaces the answer of the dialect.
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
    """Eventual consistency: after a write a repeated read returns its earlier answer.

    It lasts for `reads` reads of each URL or for `seconds`, whichever is longer; both are 0 when it is off.
    """

    reads: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    seconds: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    operation: str = ANY


@attrs.frozen(kw_only=True)
class Call:
    """A received call: the status of its answer, whether that was sent or lost, and its trouble.

    `status` is 0 if the API did nothing and answered nothing.
    """

    operation: str
    status: int
    trouble: Kind | None = None
    stale: bool = False
