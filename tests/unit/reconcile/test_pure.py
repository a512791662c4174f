"""diff, order and retry: what the loop is made of, and none of it waits for anything."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.errors import NotOwnedError, PermanentError, TransientError
from routerd.model.change import Change
from routerd.reconcile.diff import diff
from routerd.reconcile.order import RANKS, ordered
from routerd.reconcile.retry import Retries, backoff

contents = st.dictionaries(st.integers(0, 20), st.integers(0, 3))


def made(observed: dict[int, int], changes: list[Change[int, int]]) -> dict[int, int]:
    after = dict(observed)
    for change in changes:
        assert after.get(change.key) == change.before
        if change.after is None:
            del after[change.key]
        else:
            after[change.key] = change.after
    return after


@given(contents, contents)
def test_the_changes_lead_to_what_is_desired(desired: dict[int, int], observed: dict[int, int]) -> None:
    assert made(observed, diff(desired, observed)) == desired


@given(contents, contents)
def test_what_is_incomplete_never_deletes(desired: dict[int, int], observed: dict[int, int]) -> None:
    assert made(observed, diff(desired, observed, deletable=False)) == {**observed, **desired}


@given(contents)
def test_no_difference_no_change(content: dict[int, int]) -> None:
    assert diff(content, content) == []


def test_a_table_may_say_what_agrees() -> None:
    changes = diff({1: 10, 2: 20}, {1: 11, 2: 25}, agrees=lambda desired, observed: observed - desired < 3)
    assert [change.key for change in changes] == [2]


def test_a_change_that_changes_nothing_is_no_change() -> None:
    with pytest.raises(ValueError, match="changes nothing"):
        Change(key=1, before=None, after=None)


@given(st.dictionaries(st.sampled_from(RANKS), contents), st.dictionaries(st.sampled_from(RANKS), contents))
def test_what_is_made_stands_on_what_was_made_before_and_goes_the_other_way_round(
    desired: dict[str, dict[int, int]], observed: dict[str, dict[int, int]]
) -> None:
    changes = {name: diff(desired.get(name, {}), observed.get(name, {})) for name in {*desired, *observed}}
    steps = ordered(changes, {name: name for name in changes})
    ranks = [RANKS.index(step.table) for step in steps]
    deletes = [all(change.verb == "delete" for change in step.changes) for step in steps]
    making = [rank for rank, deletes_only in zip(ranks, deletes, strict=True) if not deletes_only]
    taking = [rank for rank, deletes_only in zip(ranks, deletes, strict=True) if deletes_only]
    assert making == sorted(making)
    assert taking == sorted(taking, reverse=True)
    assert deletes == sorted(deletes)
    assert sum(len(step.changes) for step in steps) == sum(map(len, changes.values()))


def test_pauses_double_up_to_five_minutes() -> None:
    error = TransientError("no")
    assert [backoff(n, error, 0.5) for n in (1, 2, 3, 9, 10, 1000)] == [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]
    assert backoff(1, PermanentError("no"), 0.5) == backoff(1, NotOwnedError("no"), 0.5) == 300.0


@given(st.integers(1, 50), st.floats(0, 0.999))
def test_what_the_world_asked_for_is_never_undercut(failures: int, jitter: float) -> None:
    assert backoff(failures, TransientError("wait", retry_after=timedelta(seconds=77)), jitter) >= 77


def test_a_success_clears_its_key_and_a_settled_key_is_forgotten() -> None:
    retries = Retries()
    retries.record({1: TransientError("a"), 2: TransientError("b")}, now=0.0, jitter=0.5)
    assert (retries.due(1, 0.5), retries.due(1, 1.0), retries.due(3, 0.0)) == (False, True, True)
    retries.record({1: None}, now=1.0, jitter=0.5)
    assert set(retries.pending) == {2}
    retries.forget_settled(set())
    assert retries.next_attempt() is None
