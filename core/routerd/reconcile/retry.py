"""When a key that failed is tried again. Pure: time and randomness come in as numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import timedelta

import attrs

from routerd.errors import ProviderError, TransientError

FIRST = 1.0
CEILING = 300.0
PERMANENT = 300.0
"""Seconds between attempts at what trying cannot help: permissions get granted, quotas raised."""


STEADY = 3
"""Times in a row that a key is changed to the same value before we say that it does not hold."""


@attrs.frozen(kw_only=True)
class Pending:
    """A key that failed: how often, the last error, and when (monotonic) it may be tried again.

    `wanted` is the value that could not be made. Another one may be tried earlier, but not before
    `not_before`, which is what the outside world asked for.
    """

    failures: int
    error: ProviderError = attrs.field(eq=False)
    next_attempt: float
    not_before: float = 0.0
    wanted: object = attrs.field(default=None, eq=False)


@attrs.frozen(kw_only=True)
class _Made:
    wanted: object
    times: int


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
    """The failed keys of one table, and those that were changed since it was last found settled."""

    pending: dict[Hashable, Pending] = attrs.field(factory=dict)
    _made: dict[Hashable, _Made] = attrs.field(factory=dict, init=False)

    def due(self, key: Hashable, now: float) -> bool:
        """Say whether `key` may be tried at monotonic time `now`."""
        entry = self.pending.get(key)
        return entry is None or entry.next_attempt <= now

    def reconsider(self, wanted: Mapping[Hashable, object]) -> None:
        """Let failed keys of which something else is wanted now be tried without their pause."""
        for key in self.pending.keys() & wanted.keys():
            entry = self.pending[key]
            if wanted[key] != entry.wanted:
                earlier = min(entry.next_attempt, entry.not_before)
                self.pending[key] = attrs.evolve(entry, next_attempt=earlier, wanted=wanted[key])

    def judged(self, key: Hashable, wanted: object, error: ProviderError | None) -> ProviderError | None:
        """Return the outcome of an attempt: a success that never holds is a failure.

        Without this a table that says yes and forgets, or somebody else who sets the same thing
        back, would keep the loop busy for ever.
        """
        if error is not None:
            self._made.pop(key, None)
            return error
        before = self._made.get(key)
        times = before.times + 1 if before is not None and before.wanted == wanted else 1
        self._made[key] = _Made(wanted=wanted, times=times)
        return TransientError("does not stay as it was made") if times >= STEADY else None

    def record(
        self,
        attempted: Mapping[Hashable, ProviderError | None],
        *,
        now: float,
        jitter: float,
        wanted: Mapping[Hashable, object] | None = None,
    ) -> None:
        """Note the outcome of attempts at making what is `wanted`: no error clears the key."""
        for key, error in attempted.items():
            if error is None:
                self.pending.pop(key, None)
                continue
            before = self.pending.get(key)
            failures = before.failures + 1 if before else 1
            wait = backoff(failures, error, jitter)
            asked = error.retry_after or timedelta()
            self.pending[key] = Pending(
                failures=failures,
                error=error,
                next_attempt=now + wait,
                not_before=now + asked.total_seconds(),
                wanted=(wanted or {}).get(key),
            )

    def forget_settled(self, unsettled: set[Hashable]) -> None:
        """Drop keys that need no change any more: the world or the intent has moved on."""
        for key in self.pending.keys() - unsettled:
            del self.pending[key]
        for key in self._made.keys() - unsettled:
            del self._made[key]

    def hurry(self) -> None:
        """Make every key due at once; the operator has asked for another attempt."""
        self.pending = {key: attrs.evolve(entry, next_attempt=0.0) for key, entry in self.pending.items()}

    def ease(self) -> None:
        """Let what may help itself be tried without its pause: the world around it has changed."""
        for key, entry in self.pending.items():
            if entry.error.retryable:
                earlier = min(entry.next_attempt, entry.not_before)
                self.pending[key] = attrs.evolve(entry, next_attempt=earlier)

    def next_attempt(self) -> float | None:
        """Return the earliest monotonic time at which a pending key is due."""
        return min((entry.next_attempt for entry in self.pending.values()), default=None)
