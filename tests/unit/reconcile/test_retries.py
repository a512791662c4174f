"""When a failed key is tried again, and when a success is none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.reconcile.retry import Retries, backoff

BUSY = TransientError("busy")
THROTTLED = TransientError("throttled", retry_after=timedelta(seconds=40))


def failed(error: ProviderError, wanted: object = 1, *, now: float = 0.0) -> Retries:
    retries = Retries()
    retries.record({"k": error}, now=now, jitter=0.5, wanted={"k": wanted})
    return retries


@given(st.integers(1, 2000), st.floats(0, 0.999999))
def test_jitter_spreads_a_pause_by_a_quarter_each_way(failures: int, jitter: float) -> None:
    middle = min(300.0, 2.0 ** min(failures - 1, 20))
    assert 0.75 * middle <= backoff(failures, BUSY, jitter) <= 1.25 * middle


@given(st.integers(1, 30), st.floats(0, 0.99), st.integers(0, 10**6), st.booleans())
def test_no_kind_of_error_undercuts_what_was_asked_for(
    failures: int, jitter: float, seconds: int, retryable: bool
) -> None:
    kind = TransientError if retryable else PermanentError
    assert backoff(failures, kind("x", retry_after=timedelta(seconds=seconds)), jitter) >= seconds


def test_each_failure_in_a_row_waits_longer() -> None:
    retries, now, waits = Retries(), 0.0, []
    for _ in range(5):
        retries.record({"k": BUSY}, now=now, jitter=0.5)
        at = retries.next_attempt()
        assert at is not None
        waits.append(at - now)
        now = at
    assert waits == [1, 2, 4, 8, 16]
    retries.record({"k": None}, now=now, jitter=0.5)
    retries.record({"k": BUSY}, now=now, jitter=0.5)
    assert retries.next_attempt() == now + 1


def test_the_next_attempt_is_the_earliest_of_all() -> None:
    retries = Retries()
    retries.record({"a": PermanentError("never"), "b": BUSY}, now=10.0, jitter=0.5)
    assert retries.next_attempt() == 11.0
    retries.make_due()
    assert retries.due("a", 0.0)


@pytest.mark.parametrize(
    ("error", "wanted", "due_at"),
    [
        (PermanentError("no"), 1, 300.0),
        (PermanentError("no"), 2, 0.0),
        (PermanentError("no"), None, 0.0),
        (THROTTLED, 1, 40.0),
        (THROTTLED, 2, 40.0),
        (BUSY, 2, 0.0),
    ],
)
def test_another_wish_waits_only_for_what_was_asked_for(
    error: ProviderError, wanted: object, due_at: float
) -> None:
    retries = failed(error)
    retries.reconsider({"k": wanted})
    assert retries.due("k", due_at)
    assert due_at == 0.0 or not retries.due("k", due_at - 0.01)


def test_another_wish_that_fails_as_well_waits_longer_than_the_first() -> None:
    retries = failed(BUSY)
    retries.reconsider({"k": 2})
    retries.record({"k": BUSY}, now=0.0, jitter=0.5, wanted={"k": 2})
    assert retries.next_attempt() == 2.0


def test_a_success_that_is_found_undone_again_and_again_is_a_failure() -> None:
    retries = Retries()
    outcomes = [retries.judged("k", 1, None) for _ in range(4)]
    assert [outcome is None for outcome in outcomes] == [True, True, False, False]
    assert outcomes[3] is not None
    assert outcomes[3].retryable


def test_a_success_that_was_seen_to_hold_counts_from_the_start() -> None:
    retries = Retries()
    for _ in range(10):
        assert retries.judged("k", 1, None) is None
        retries.forget_settled(set())


def test_successes_at_different_things_are_all_successes() -> None:
    retries = Retries()
    assert [retries.judged("k", wanted, None) for wanted in range(10)] == [None] * 10


def test_a_failure_is_what_it_is() -> None:
    assert Retries().judged("k", 1, BUSY) is BUSY
