"""What is told of a neighbour: the last error until the session is up, a refusal until it is over."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from routerd_bgp_ryu.child.accounts import Account, Accounts
from routerd_bgp_ryu.identity import Identity

WHO = Identity(asn=64577, router_id=IPv4Address("10.99.0.11"))
WRONG = Identity(asn=64999, router_id=IPv4Address("10.99.0.12"))


class Told:
    """Accounts at noon, and how often something new was told."""

    def __init__(self) -> None:
        self.times = 0
        self.accounts = Accounts(self._count, clock=lambda: 12.0)

    def _count(self) -> None:
        self.times += 1


@pytest.fixture
def told() -> Told:
    return Told()


def test_an_error_is_told_once_and_forgotten_when_the_session_is_up(told: Told) -> None:
    told.accounts.say("n", "cannot connect")
    told.accounts.say("n", "cannot connect")
    assert (told.accounts.of("n").error, told.times) == ("cannot connect", 1)
    told.accounts.up("n", WHO)
    assert told.accounts.of("n") == Account(since=12.0, who=WHO)


def test_a_refusal_is_told_with_who_came_and_logged_once(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        told.accounts.refuse("n", "bad peer AS", WRONG)
    account = told.accounts.of("n")
    assert (account.who, account.error, account.refusal) == (WRONG, "bad peer AS", "bad peer AS")
    assert told.accounts.refusals() == {"n": "bad peer AS"}
    assert [record.getMessage() for record in caplog.records] == ["n: bad peer AS"]


def test_somebody_elses_attempt_does_not_change_who_speaks(told: Told) -> None:
    told.accounts.up("n", WHO)
    told.accounts.refuse("n", "came from another address")
    assert told.accounts.of("n").who == WHO


def test_a_refusal_that_is_over_takes_its_error_with_it_and_no_other(told: Told) -> None:
    told.accounts.refuse("n", "bad peer AS", WRONG)
    told.accounts.forget_refusal("n")
    assert told.accounts.refusals() == {}
    assert told.accounts.of("n").error == ""
    told.accounts.refuse("n", "bad peer AS", WRONG)
    told.accounts.say("n", "hold timer expired")
    told.accounts.forget_refusal("n")
    assert told.accounts.of("n").error == "hold timer expired"


def test_how_a_session_ended_is_known_until_the_next_is_up(told: Told) -> None:
    told.accounts.up("n", WHO)
    told.accounts.of("n").ended = (6, 2)
    told.accounts.down("n")
    assert told.accounts.of("n").ended == (6, 2)
    told.accounts.up("n", WHO)
    assert told.accounts.of("n").ended is None


def test_nothing_is_left_of_who_is_dropped(told: Told) -> None:
    told.accounts.refuse("n", "bad peer AS", WRONG)
    told.accounts.drop("n")
    assert told.accounts.of("n") == Account()
    assert told.accounts.refusals() == {}
