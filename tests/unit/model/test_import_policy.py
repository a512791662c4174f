"""What an import policy lets in, and the reason code for the rest."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.bgp.import_policy import (
    FORBIDDEN,
    FORBIDDEN_COMMUNITY,
    MISSING_COMMUNITY,
    NOT_A_HOST,
    NOT_OWNED,
    OUTSIDE,
    refusal,
)
from routerd.model.session import ImportPolicy

PREFIX = IPv4Network("10.88.1.1/32")


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("10.88.1.1/32", None),
        ("10.88.1.2/32", NOT_OWNED),
        ("10.88.1.0/24", NOT_A_HOST),
        ("0.0.0.0/0", FORBIDDEN),
        ("10.99.0.3/32", FORBIDDEN),
    ],
)
def test_a_claim_admits_its_hosts_exactly(prefix: str, reason: str | None) -> None:
    policy = ImportPolicy(hosts=frozenset({PREFIX}), forbidden=frozenset({IPv4Network("10.99.0.0/24")}))
    assert refusal(IPv4Network(prefix), policy, frozenset()) == reason


@pytest.mark.parametrize(
    ("prefix", "reason"), [("10.88.9.9/32", None), ("10.88.9.0/24", OUTSIDE), ("10.89.0.1/32", OUTSIDE)]
)
def test_a_pool_admits_hosts_inside_it(prefix: str, reason: str | None) -> None:
    policy = ImportPolicy(within=frozenset({IPv4Network("10.88.0.0/16")}))
    assert refusal(IPv4Network(prefix), policy, frozenset()) == reason


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("2001:db8::1/128", None),
        ("2001:db8::/127", OUTSIDE),
        ("2001:db9::1/128", OUTSIDE),
        ("::a58:101/128", OUTSIDE),
        ("::a63:3/128", OUTSIDE),
        ("10.88.1.1/32", None),
        ("2001:db8:1::1/128", FORBIDDEN),
    ],
    ids=[
        "host",
        "two hosts",
        "elsewhere",
        "number of a host",
        "number of a forbidden host",
        "IPv4",
        "forbidden",
    ],
)
def test_a_policy_of_both_families_judges_each_by_its_own_prefixes(prefix: str, reason: str | None) -> None:
    policy = ImportPolicy(
        within=frozenset({IPv4Network("10.88.0.0/16"), IPv6Network("2001:db8::/32")}),
        forbidden=frozenset({IPv4Network("10.99.0.0/24"), IPv6Network("2001:db8:1::/48")}),
    )
    assert refusal(ip_network(prefix), policy, frozenset()) == reason


@pytest.mark.parametrize(
    ("prefix", "reason"), [("2001:db8::/120", None), ("2001:db8::/119", OUTSIDE), ("10.88.0.0/24", None)]
)
def test_a_length_counts_host_bits_in_both_families(prefix: str, reason: str | None) -> None:
    everything = frozenset({IPv4Network("0.0.0.0/0"), IPv6Network("::/0")})
    policy = ImportPolicy(within=everything, min_length=24)
    assert refusal(ip_network(prefix), policy, frozenset()) == reason


@pytest.mark.parametrize("policy", [{"hosts": {PREFIX}}, {"within": {IPv4Network("10.88.0.0/16")}}])
@pytest.mark.parametrize(
    ("carried", "reason"),
    [
        ("", MISSING_COMMUNITY),
        ("64512:1", MISSING_COMMUNITY),
        ("64512:1 64512:2", None),
        ("64512:1 64512:2 64512:3", None),
        ("64512:1 64512:2 65535:65281", FORBIDDEN_COMMUNITY),
        ("65535:65281", FORBIDDEN_COMMUNITY),
    ],
)
def test_all_required_communities_and_no_forbidden_one(
    policy: dict[str, set[IPv4Network]], carried: str, reason: str | None
) -> None:
    asks = ImportPolicy(
        required_communities={"64512:1", "64512:2"},
        forbidden_communities={"no-export"},
        **{name: frozenset(value) for name, value in policy.items()},
    )
    assert refusal(PREFIX, asks, frozenset(carried.split())) == reason


def test_communities_help_no_prefix_that_may_not_enter() -> None:
    asks = ImportPolicy(hosts=frozenset({PREFIX}), required_communities={"64512:1"})
    for prefix, reason in (("10.88.1.2/32", NOT_OWNED), ("10.88.1.0/24", NOT_A_HOST)):
        for carried in (frozenset({"64512:1"}), frozenset[str]()):
            assert refusal(IPv4Network(prefix), asks, carried) == reason


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_without_a_policy_nothing_enters(address: int, length: int) -> None:
    network = IPv4Network((address, length), strict=False)
    assert refusal(network, ImportPolicy(), frozenset()) is not None
