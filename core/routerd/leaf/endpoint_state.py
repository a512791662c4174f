"""The state of our claim at one route reflector, and when to ask it again; pure."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from routerd.errors import ProviderError
from routerd.model.specs.enrollment import RetryBackoffSpec
from routerd.spi import Clock
from routerd.spi.backoff import doubled

CHECK_SECONDS = 60.0
"""Seconds between two checks whether an accepting reflector still knows us."""

LONGEST_UNREACHABLE = 60.0
"""Largest pause in seconds, before jitter, towards a reflector that does not answer.

A retry after a refusal can wait for `retryBackoff.max`; a reflector that returns should not wait.
"""

APPROVAL_SECONDS = 30.0
"""Largest pause in seconds before a claim that waits for approval is submitted again."""

PENDING = "approval-pending"

JITTER = 0.25
"""Fraction of a pause that is random, so that leaves do not come at the same moment."""


@attrs.frozen(kw_only=True)
class EndpointState:
    """The state of one endpoint. Times named `at` are seconds of the monotonic clock.

    `digest` is that of the accepted claim, empty when the endpoint has not accepted one. `until` is
    the end of the claim by our wall clock, for people.
    """

    target: str
    digest: str = ""
    until: datetime | None = None
    renew_at: float | None = None
    ask_at: float = 0.0
    failures: int = 0
    error: str = ""
    reason: str = ""

    def holds(self, digest: str) -> bool:
        """Say whether the endpoint has accepted the claim with that digest."""
        return bool(self.digest) and self.digest == digest

    def must_submit(self, digest: str, now: float) -> bool:
        """Say whether the leaf must submit the claim here now."""
        if now < self.ask_at and self.failures:
            return False
        return not self.holds(digest) or (self.renew_at is not None and now >= self.renew_at)

    def must_check(self, now: float) -> bool:
        """Say whether to check that the endpoint still knows the claim."""
        return now >= self.ask_at

    def next_at(self, digest: str) -> float:
        """Return when the next submission or check is due."""
        if self.failures or not self.holds(digest):
            return self.ask_at
        return min(self.ask_at, self.renew_at if self.renew_at is not None else self.ask_at)

    def accepted(
        self, digest: str, life: timedelta | None, *, clock: Clock, before: timedelta, least: timedelta
    ) -> EndpointState:
        """Return the state after an acceptance for `life`; renewal is due `before` its end.

        Renewal is due after two thirds of `life` if that is earlier: a reflector that is down for an
        hour must not cost a membership. A short life is renewed at half. `least` is the minimum
        between two renewals. Failures count on until the endpoint also answers a check.
        """
        now = clock.monotonic()
        renew_at = None
        if life is not None:
            span = life.total_seconds()
            margin = max(min(before.total_seconds(), span / 2), span / 3)
            renew_at = now + max(span - margin, least.total_seconds())
        return attrs.evolve(
            self,
            digest=digest,
            until=clock.now() + life if life is not None else None,
            renew_at=renew_at,
            ask_at=now + CHECK_SECONDS,
        )

    def checked(self, *, clock: Clock) -> EndpointState:
        """Return the state after the endpoint confirmed that it knows us."""
        return attrs.evolve(self, ask_at=clock.monotonic() + CHECK_SECONDS, failures=0, error="", reason="")

    def forgotten(self) -> EndpointState:
        """Return the state when the endpoint has forgotten us: a submission is due at once."""
        return attrs.evolve(self, digest="", until=None, renew_at=None, ask_at=0.0)

    def failed(
        self, error: ProviderError, reason: str, *, clock: Clock, backoff: RetryBackoffSpec, chance: float
    ) -> EndpointState:
        """Return the state after a failure; `chance` is a random number from 0 to 1."""
        failures = self.failures + 1
        pause = doubled(failures, first=backoff.min.total_seconds(), ceiling=backoff.max.total_seconds())
        if error.retryable:
            pause = min(pause, LONGEST_UNREACHABLE)
        if reason == PENDING:
            pause = min(pause, APPROVAL_SECONDS)
        pause *= 1 - JITTER * chance
        if error.retry_after is not None:
            pause = max(pause, error.retry_after.total_seconds())
        return attrs.evolve(
            self, ask_at=clock.monotonic() + pause, failures=failures, error=str(error), reason=reason
        )
