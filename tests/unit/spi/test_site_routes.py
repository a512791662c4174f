"""May a router change a route of its site's cloud: all 35 cells, and what is asked beside them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest

from routerd.errors import (
    NotOwnedError,
    PermanentError,
    ProviderError,
    SupersededError,
    TransientError,
    UnsupportedError,
)
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd.spi.site_routes import (
    READ_AGAIN,
    Refused,
    Settled,
    SiteRouters,
    Write,
    fault,
    judge,
    judge_change,
)

ROUTERS = SiteRouters(us="us", others=frozenset({"A", "B"}))

TABLE = """
before after | us        A          B          X          None
None   us    | settled   transient  transient  notowned   write
A      us    | settled   write      transient  notowned   write
us     None  | write     superseded superseded superseded settled
us     A     | write     settled    superseded superseded superseded
None   A     | permanent permanent  permanent  permanent  permanent
B      A     | permanent permanent  permanent  permanent  permanent
A      None  | permanent permanent  permanent  permanent  permanent
"""

WORDS: dict[type[ProviderError], str] = {
    TransientError: "transient",
    NotOwnedError: "notowned",
    PermanentError: "permanent",
}


def cells() -> list[tuple[str | None, ...]]:
    heads, *rows = [line.replace("|", "").split() for line in TABLE.strip().splitlines()]
    found = [
        (before, after, present, word)
        for before, after, *words in rows
        for present, word in zip(heads[2:], words, strict=True)
    ]
    return [tuple(None if each == "None" else each for each in cell) for cell in found]


def word(before: str | None, after: str | None, present: str | None) -> str:
    match judge(before, after, present, ROUTERS):
        case Write():
            return "write"
        case Settled(superseded=found):
            return "superseded" if found else "settled"
        case Refused(error=error):
            return WORDS[error]


def test_every_cell_of_the_table() -> None:
    assert len(cells()) == 35
    assert [(*cell[:3], word(*cell[:3])) for cell in cells()] == cells()


@pytest.mark.parametrize("present", ["us", "A", "B", "X", None])
@pytest.mark.parametrize(("before", "after"), [("us", "X"), (None, "X"), ("A", "X"), ("X", None)])
def test_no_route_is_led_to_a_stranger_or_taken_from_one(
    before: str | None, after: str | None, present: str | None
) -> None:
    assert word(before, after, present) == "permanent"


def test_a_router_that_left_the_site_is_a_stranger_to_a_takeover() -> None:
    assert word("X", "us", "X") == "notowned"
    assert word("X", "us", None) == "write"


def test_without_other_routers_everybody_else_is_a_stranger() -> None:
    alone = SiteRouters(us="us")
    assert judge("A", "us", "A", alone) == Refused(
        error=NotOwnedError, why="leads to A, not a router of this site"
    )
    assert judge("us", "A", "us", alone).__class__ is Refused


def test_a_change_is_judged_by_its_next_hops() -> None:
    key = FabricRouteKey(table=RouteTableRef("t"), prefix=IPv4Network("10.0.0.1/32"))
    change = Change(key=key, before=None, after=FabricRoute(next_hop="us"))
    assert judge_change(change, None, ROUTERS) == Write()


@pytest.mark.parametrize(
    ("before", "after", "present", "error", "text"),
    [
        (None, "us", "X", NotOwnedError, "t p: leads to X, not a router of this site; remove it"),
        (None, "us", "A", TransientError, "t p: leads to A, another router of the site; routerd will read"),
        ("us", None, "A", SupersededError, "t p: leads to A, another router of the site; routerd leaves"),
        ("us", "A", None, SupersededError, "t p: the route is gone; routerd leaves it alone"),
        ("A", None, "us", PermanentError, "t p: routerd does not turn it from A to nothing"),
    ],
)
def test_a_fault_says_what_is_there(
    before: str | None, after: str | None, present: str | None, error: type[ProviderError], text: str
) -> None:
    found = fault(judge(before, after, present, ROUTERS), "t p", remedy="remove it")
    assert type(found) is error
    assert str(found).startswith(text)
    assert found.retry_after == (READ_AGAIN if error is TransientError else None)


@pytest.mark.parametrize("cell", [(None, "us", None), (None, "us", "us"), ("us", None, None)])
def test_a_write_and_a_settled_change_are_no_fault(cell: tuple[str | None, str | None, str | None]) -> None:
    assert fault(judge(*cell, ROUTERS), "t p") is None


@pytest.mark.parametrize("present", [None, "us", "A", "X"])
def test_a_route_to_an_ipv6_prefix_is_unsupported_whatever_is_there(present: str | None) -> None:
    key = FabricRouteKey(table=RouteTableRef("t"), prefix=IPv6Network("2001:db8::/64"))
    change = Change(key=key, before=None, after=FabricRoute(next_hop="us"))
    error = fault(judge_change(change, present, ROUTERS), "route 2001:db8::/64")
    assert isinstance(error, UnsupportedError)
    assert str(error) == "route 2001:db8::/64: routerd does not write IPv6 into a cloud yet; use IPv4"
