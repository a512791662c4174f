"""What one route reflector thinks of our claim, and when to ask it again; pure."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from routerd.errors import ProviderError
from routerd.model.specs.mobility import RetryBackoffSpec
from routerd.spi import Clock
from routerd.spi.backoff import doubled

CHECK_SECONDS = 60.0
"""How often an accepting reflector is asked whether it still knows us."""

LONGEST_UNREACHABLE = 60.0
"""The longest pause in seconds, before chance, towards a reflector that does not answer.

To be refused again can wait for `retryBackoff.max`; a reflector that is back should not.
"""

APPROVAL_SECONDS = 30.0
"""How often a claim that waits for approval is submitted again, at the latest."""

PENDING = "approval-pending"

JITTER = 0.25
"""The part of a pause that is left to chance, so that leaves do not come all at once."""


@attrs.frozen(kw_only=True)
class Acceptance:
    """The state of one endpoint. Times named `at` are seconds of the monotonic clock.

    `digest` is that of the claim it accepted, empty when it accepted none. `until` is the end of
    the claim by our wall clock, for people.
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
        """Say whether the claim is to be submitted here now."""
        if now < self.ask_at and self.failures:
            return False
        return not self.holds(digest) or (self.renew_at is not None and now >= self.renew_at)

    def must_check(self, now: float) -> bool:
        """Say whether to look whether the endpoint still knows the claim."""
        return now >= self.ask_at

    def next_at(self, digest: str) -> float:
        """Return when there is something to do here."""
        if self.failures or not self.holds(digest):
            return self.ask_at
        return min(self.ask_at, self.renew_at if self.renew_at is not None else self.ask_at)

    def accepted(
        self, digest: str, life: timedelta | None, *, clock: Clock, before: timedelta, least: timedelta
    ) -> Acceptance:
        """Return the state after an acceptance for `life`; renewal is due `before` its end.

        It is due after two thirds of `life` if that is earlier: a reflector that is down for an
        hour must not cost a membership. Of a short life half is used; two renewals are never closer
        than `least`. Failures count on until the endpoint also answers a check.
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

    def checked(self, *, clock: Clock) -> Acceptance:
        """Return the state after the endpoint said that it knows us."""
        return attrs.evolve(self, ask_at=clock.monotonic() + CHECK_SECONDS, failures=0, error="", reason="")

    def forgotten(self) -> Acceptance:
        """Return the state when the endpoint knows us no more: it is to be asked at once."""
        return attrs.evolve(self, digest="", until=None, renew_at=None, ask_at=0.0)

    def failed(
        self, error: ProviderError, reason: str, *, clock: Clock, backoff: RetryBackoffSpec, chance: float
    ) -> Acceptance:
        """Return the state after a failure; `chance` is from 0 to 1."""
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
