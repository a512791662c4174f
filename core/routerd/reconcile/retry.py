"""When a key that failed is tried again. Pure: time and randomness come in as numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import timedelta

import attrs

from routerd.errors import ProviderError

FIRST = 1.0
CEILING = 300.0
PERMANENT = 300.0
"""Seconds between attempts at what trying cannot help: permissions get granted, quotas raised."""


@attrs.frozen(kw_only=True)
class Pending:
    """A key that failed: how often, the last error, and when (monotonic) it may be tried again."""

    failures: int
    error: ProviderError = attrs.field(eq=False)
    next_attempt: float


def backoff(failures: int, error: ProviderError, jitter: float) -> float:
    """Return seconds until the next attempt: 1, 2, 4, ... 300, spread by `jitter` in [0, 1).

    What the outside world asked for (`retry_after`) is never undercut.
    """
    seconds = PERMANENT if not error.retryable else min(CEILING, FIRST * 2.0 ** min(failures - 1, 20))
    seconds *= 0.75 + 0.5 * jitter
    asked = error.retry_after or timedelta()
    return max(seconds, asked.total_seconds())


@attrs.define
class Retries:
    """The failed keys of one table."""

    pending: dict[Hashable, Pending] = attrs.field(factory=dict)

    def due(self, key: Hashable, now: float) -> bool:
        """Say whether `key` may be tried at monotonic time `now`."""
        entry = self.pending.get(key)
        return entry is None or entry.next_attempt <= now

    def record(
        self, attempted: Mapping[Hashable, ProviderError | None], *, now: float, jitter: float
    ) -> None:
        """Note the outcome of attempts: no error clears the key."""
        for key, error in attempted.items():
            if error is None:
                self.pending.pop(key, None)
                continue
            before = self.pending.get(key)
            failures = before.failures + 1 if before else 1
            wait = backoff(failures, error, jitter)
            self.pending[key] = Pending(failures=failures, error=error, next_attempt=now + wait)

    def forget_settled(self, unsettled: set[Hashable]) -> None:
        """Drop keys that need no change any more: the world or the intent has moved on."""
        for key in self.pending.keys() - unsettled:
            del self.pending[key]

    def hurry(self) -> None:
        """Make every key due at once; the operator has asked for another attempt."""
        self.pending = {key: attrs.evolve(entry, next_attempt=0.0) for key, entry in self.pending.items()}

    def next_attempt(self) -> float | None:
        """Return the earliest monotonic time at which a pending key is due."""
        return min((entry.next_attempt for entry in self.pending.values()), default=None)
