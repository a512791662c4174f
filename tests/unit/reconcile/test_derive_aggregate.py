"""Addresses that fill a prefix share one cloud route where the profile says so, and no other one does."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.modes import MODES
from tests.unit.reconcile.test_derive import NOW

from routerd import config
from routerd.model.fabric import InstanceFacts, RouteTableRef
from routerd.model.route import LearnedRoute, RouteKey, RouteSet
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.derive.forwarding import aggregated

EXAMPLES = Path(__file__).parents[3] / "examples"
TABLES = (RouteTableRef("rtb-1"), RouteTableRef("rtb-2"))
FACTS = InstanceFacts(provider="aws", instance="i-1", nics=(), next_hop="eni-1", route_tables=TABLES)


def cloud_routes(option: str, *addresses: str) -> dict[str, set[str]]:
    """Return the prefixes that are wanted in each table, and those in the kernel under `kernel`."""
    text = (EXAMPLES / "fullmesh-leaf-aws.yaml").read_text()
    mode = "        mode: auto\n"
    assert text.count(mode) == 1
    intent = config.load_text(text.replace(mode, f"{mode}{option}"), file="leaf.yaml").intent
    routes = tuple(
        LearnedRoute(
            prefix=IPv4Network(address),
            next_hop=IPv4Address("10.255.10.157"),
            neighbour=IPv4Address("10.255.10.157"),
        )
        for address in addresses
    )
    desired = derive(
        Inputs(
            modes=MODES,
            intent=intent,
            now=NOW,
            learned=RouteSet(complete=True, routes=routes),
            instances={"aws": FACTS},
        )
    )
    found: dict[str, set[str]] = {
        "kernel": {str(key.prefix) for key in desired.table("routes").values if isinstance(key, RouteKey)}
    }
    for key in desired.table("routes/aws").values:
        found.setdefault(key.table, set()).add(str(key.prefix))
    return found


AGGREGATE = "        aggregate: true\n"
QUAD = [f"10.82.10.{last}" for last in (20, 21, 22, 23)]


def test_without_the_option_each_address_has_a_route_of_its_own() -> None:
    assert cloud_routes("", *QUAD)["rtb-1"] == {f"{each}/32" for each in QUAD}


def test_with_it_they_share_one_in_every_table_and_the_kernel_keeps_each() -> None:
    found = cloud_routes(AGGREGATE, *QUAD, "10.82.10.25")
    assert found["rtb-1"] == found["rtb-2"] == {"10.82.10.20/30", "10.82.10.25/32"}
    assert {f"{each}/32" for each in QUAD} <= found["kernel"]


@pytest.mark.parametrize("missing", QUAD)
def test_when_one_goes_the_rest_is_covered_and_it_is_not(missing: str) -> None:
    found = cloud_routes(AGGREGATE, *(each for each in QUAD if each != missing))
    networks = [IPv4Network(each) for each in found["rtb-1"]]
    assert not any(IPv4Address(missing) in network for network in networks)
    assert sum(network.num_addresses for network in networks) == 3


@given(st.frozensets(st.integers(0, 255), max_size=256))
def test_exactly_the_same_addresses_are_covered_by_no_more_routes(hosts: frozenset[int]) -> None:
    base = IPv4Address("10.9.0.0")
    prefixes = [IPv4Network((base + host, 32)) for host in sorted(hosts)]
    found = list(aggregated(prefixes))
    assert [address for network in found for address in network] == [base + host for host in sorted(hosts)]
    assert len(found) <= len(prefixes)
