"""Communities: one form for every spelling."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.bgp.community import canonical, canonical_set
from routerd.model.session import Advertisement, ImportPolicy


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("64512:100", "64512:100"),
        ("064:00001", "64:1"),
        ("0:0", "0:0"),
        ("65535:65535", "65535:65535"),
        ("no-export", "65535:65281"),
        ("no-advertise", "65535:65282"),
        ("internet", "0:0"),
    ],
)
def test_a_community_has_one_form(text: str, form: str) -> None:
    assert canonical(text) == form
    assert canonical(form) == form


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_every_pair_of_numbers_is_a_community(high: int, low: int) -> None:
    assert canonical(f"{high}:{low}") == f"{high}:{low}"


@pytest.mark.parametrize(
    "text",
    ["", "1", "65536:1", "1:65536", "1:2:3", "-1:2", "1: 2", "1:2\n", "NO-EXPORT", "\u0661:1", "000001:1"],
)
def test_text_that_is_not_a_community_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a community"):
        canonical(text)


def test_values_compare_by_number() -> None:
    assert ImportPolicy(required_communities={"no-export"}) == ImportPolicy(
        required_communities={"65535:65281", "no-export"}
    )
    made = Advertisement(owner="x/y", next_hop=IPv4Address("192.0.2.1"), communities=("no-export", "01:2"))
    assert made.communities == canonical_set(["1:2", "65535:65281"])
