"""What an import policy lets in when paths come and go, and when it changes."""

from __future__ import annotations

from ipaddress import IPv4Network

import attrs
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.bgp.import_policy import (
    FORBIDDEN,
    FORBIDDEN_COMMUNITY,
    MISSING_COMMUNITY,
    NOT_A_HOST,
    NOT_OWNED,
    TOO_MANY,
)
from routerd.model.session import ImportPolicy
from routerd_bgp_ryu.child.import_filter import ImportFilter, communities_of

A, B, C, D = (f"10.88.0.{number}/32" for number in range(1, 5))
HOSTS = frozenset(map(IPv4Network, (A, B, C, D)))
FAMILY = object()


@attrs.frozen
class Nlri:
    formatted_nlri_str: str


@attrs.frozen
class Communities:
    communities: list[int]


@attrs.frozen
class Path:
    nlri: Nlri
    is_withdraw: bool = False
    numbers: tuple[int, ...] | None = None

    def get_pattr(self, code: int) -> Communities | None:
        """Return COMMUNITIES as the library does; a withdrawal has no attributes to ask for."""
        assert code == 8
        assert not self.is_withdraw
        return Communities(list(self.numbers)) if self.numbers is not None else None


def admits(judge: ImportFilter, prefix: str, *numbers: int) -> bool:
    verdict, matched = judge.evaluate(Path(Nlri(prefix), numbers=numbers or None))
    assert matched, "what is not matched slips through"
    return bool(verdict)


def withdraws(judge: ImportFilter, prefix: str) -> bool:
    verdict, matched = judge.evaluate(Path(Nlri(prefix), is_withdraw=True))
    assert matched
    return bool(verdict)


def made(policy: ImportPolicy, before: ImportFilter | None = None) -> ImportFilter:
    """Return a filter as the library has it: a copy."""
    return ImportFilter(policy, FAMILY, before).clone()


def test_who_comes_first_has_the_place() -> None:
    judge = made(ImportPolicy(hosts=HOSTS, max_prefixes=2))
    assert [admits(judge, each) for each in (D, C, B, D)] == [True, True, False, True]
    assert judge.reason(B) == TOO_MANY


def test_the_reason_is_that_of_the_refusal() -> None:
    judge = made(ImportPolicy(hosts=HOSTS - {IPv4Network(B)}, forbidden=frozenset({IPv4Network(A)})))
    assert [admits(judge, each) for each in (A, B, "10.99.0.0/24")] == [False] * 3
    assert [judge.reason(each) for each in (A, B, "10.99.0.0/24")] == [FORBIDDEN, NOT_OWNED, NOT_A_HOST]


def test_a_withdrawal_of_what_never_entered_does_not_reach_the_table() -> None:
    judge = made(ImportPolicy(hosts=HOSTS, max_prefixes=1))
    assert admits(judge, A)
    assert not admits(judge, B)
    assert not withdraws(judge, B)
    assert not withdraws(judge, C)
    assert judge.waiting() == []
    assert withdraws(judge, A)
    assert not withdraws(judge, A)


def test_a_place_that_is_free_is_for_who_waits_longest() -> None:
    judge = made(ImportPolicy(hosts=HOSTS, max_prefixes=1))
    assert [admits(judge, each) for each in (A, C, B)] == [True, False, False]
    assert withdraws(judge, A)
    assert judge.waiting() == [C]
    assert admits(judge, C)
    assert judge.waiting() == []


def test_a_new_policy_keeps_who_has_a_place() -> None:
    first = made(ImportPolicy(hosts=frozenset({IPv4Network(C)}), max_prefixes=1))
    assert not admits(first, A)
    assert admits(first, C)
    second = made(ImportPolicy(hosts=HOSTS, max_prefixes=1), first)
    assert [admits(second, each) for each in (A, C)] == [False, True]
    third = made(ImportPolicy(hosts=HOSTS - {IPv4Network(C)}, max_prefixes=1), second)
    assert [admits(third, each) for each in (A, C)] == [True, False]


@given(st.lists(st.tuples(st.sampled_from([A, B, C, D]), st.booleans()), max_size=40), st.integers(0, 4))
def test_never_more_than_the_maximum_enters(events: list[tuple[str, bool]], maximum: int) -> None:
    judge = made(ImportPolicy(hosts=HOSTS, max_prefixes=maximum))
    table: set[str] = set()
    for prefix, announced in events:
        if announced:
            (table.add if admits(judge, prefix) else table.discard)(prefix)
        elif withdraws(judge, prefix):
            table.remove(prefix)
        assert len(table) <= maximum
        assert judge.room == maximum - len(table)


RED, GREEN = 64512 << 16 | 100, 64512 << 16 | 200
ASKS = ImportPolicy(
    hosts=HOSTS,
    max_prefixes=1,
    required_communities=frozenset({"64512:100"}),
    forbidden_communities=frozenset({"64512:200"}),
)


def test_communities_are_read_from_the_path() -> None:
    assert communities_of(Path(Nlri(A), numbers=(RED, 0xFFFFFF01, RED, 0))) == {
        "64512:100",
        "65535:65281",
        "0:0",
    }
    assert communities_of(Path(Nlri(A))) == frozenset()


def test_new_communities_are_judged_anew() -> None:
    judge = made(ASKS)
    assert [admits(judge, A, *numbers) for numbers in ((), (RED,), (RED, GREEN), (RED,), ())] == [
        False, True, False, True, False
    ]  # fmt: skip
    assert judge.reason(A) == MISSING_COMMUNITY
    assert not admits(judge, A, GREEN)
    assert judge.reason(A) == FORBIDDEN_COMMUNITY


def test_a_place_is_given_up_with_the_communities_and_no_longer_waited_for() -> None:
    judge = made(ASKS)
    assert [admits(judge, each, RED) for each in (A, B)] == [True, False]
    assert judge.reason(B) == TOO_MANY
    assert not admits(judge, B)
    assert not admits(judge, A)
    assert judge.room == 1
    assert judge.waiting() == []


def test_a_policy_that_asks_for_communities_frees_the_places_of_those_without() -> None:
    first = made(ImportPolicy(hosts=HOSTS, max_prefixes=1))
    assert [admits(first, A), admits(first, B, RED)] == [True, False]
    second = made(ASKS, first)
    assert [admits(second, A), admits(second, B, RED)] == [False, True]
    third = made(attrs.evolve(ASKS, forbidden_communities=frozenset()), second)
    assert third.room == 0
