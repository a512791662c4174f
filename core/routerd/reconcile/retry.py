"""When a failed key is retried. Pure: time and randomness come in as numbers."""

from collections.abc import Hashable, Mapping
from datetime import timedelta

import attrs

from routerd.errors import NotOwnedError, ProviderError, TransientError
from routerd.spi.backoff import doubled

CEILING = 300.0
"""Maximum seconds between two attempts."""

PERMANENT = 300.0
"""Seconds between attempts after an error that needs a change elsewhere: a permission, a quota."""

STEADY = 3
"""Number of times in a row that a key is changed to the same value before it counts as not lasting."""


@attrs.frozen(kw_only=True)
class Pending:
    """A failed key: the number of failures, the last error, and the monotonic time of the next attempt.

    `wanted` is the value that failed. Another value may be tried earlier, but not before `not_before`,
    which the outside world asked for.
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

    The result is at least the error's `retry_after`.
    """
    seconds = doubled(failures, ceiling=CEILING) if error.retryable else PERMANENT
    seconds *= 0.75 + 0.5 * jitter
    asked = error.retry_after or timedelta()
    return max(seconds, asked.total_seconds())


@attrs.define
class Retries:
    """The failed keys of one table, and the keys changed since the table was last settled."""

    pending: dict[Hashable, Pending] = attrs.field(factory=dict)
    _made: dict[Hashable, _Made] = attrs.field(factory=dict, init=False)

    def due(self, key: Hashable, now: float) -> bool:
        """Say whether `key` may be tried at monotonic time `now`."""
        entry = self.pending.get(key)
        return entry is None or entry.next_attempt <= now

    def reconsider(self, wanted: Mapping[Hashable, object]) -> None:
        """End the pause of each failed key whose wanted value has changed."""
        for key in self.pending.keys() & wanted.keys():
            entry = self.pending[key]
            if wanted[key] != entry.wanted:
                earlier = min(entry.next_attempt, entry.not_before)
                self.pending[key] = attrs.evolve(entry, next_attempt=earlier, wanted=wanted[key])

    def judged(self, key: Hashable, wanted: object, error: ProviderError | None) -> ProviderError | None:
        """Return the outcome of an attempt: a success that never lasts is a failure.

        Otherwise a table that forgets, or another program that reverts the change, would keep the loop
        busy without end.
        """
        if error is not None:
            self._made.pop(key, None)
            return error
        before = self._made.get(key)
        times = before.times + 1 if before is not None and before.wanted == wanted else 1
        self._made[key] = _Made(wanted=wanted, times=times)
        return TransientError("does not stay as routerd made it") if times >= STEADY else None

    def record(
        self,
        attempted: Mapping[Hashable, ProviderError | None],
        *,
        now: float,
        jitter: float,
        wanted: Mapping[Hashable, object] | None = None,
    ) -> None:
        """Record the outcome of attempts at the values of `wanted`; a success clears its key."""
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
        """Drop each key that no longer needs a change."""
        for key in self.pending.keys() - unsettled:
            del self.pending[key]
        for key in self._made.keys() - unsettled:
            del self._made[key]

    def make_due(self) -> None:
        """Make every key due at once."""
        self.pending = {key: attrs.evolve(entry, next_attempt=0.0) for key, entry in self.pending.items()}

    def make_curable_due(self) -> None:
        """End the pause of each key whose error a retry may cure, or that something foreign blocked."""
        for key, entry in self.pending.items():
            if entry.error.retryable or isinstance(entry.error, NotOwnedError):
                earlier = min(entry.next_attempt, entry.not_before)
                self.pending[key] = attrs.evolve(entry, next_attempt=earlier)

    def next_attempt(self) -> float | None:
        """Return the earliest monotonic time at which a pending key is due."""
        return min((entry.next_attempt for entry in self.pending.values()), default=None)
