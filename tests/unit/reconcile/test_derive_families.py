"""IPv6 that a routing plugin learns: counted as rejected, named, and no obstacle for IPv4."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from tests.unit.reconcile.leaf_claim import CLAIM
from tests.unit.reconcile.test_derive_sessions import learned, neighbour_of, reflector

from routerd.model.route import LearnedRoute, RejectedRoute, RouteKey, RouteSet
from routerd.reconcile.derive.forwarding import aggregated
from routerd.reconcile.merge import merged

OWN = IPv4Network("10.80.1.20/32")
NET_6, HOP_6 = IPv6Network("2001:db8:7::20/128"), IPv6Address("2001:db8::1")
UNSUPPORTED = "address-family-unsupported"


def path(prefix: Any, hop: Any, neighbour: Any = None, **more: Any) -> LearnedRoute:
    return LearnedRoute(prefix=prefix, next_hop=hop, neighbour=neighbour or hop, **more)


@pytest.mark.parametrize("source", ["bgp", "static"])
@pytest.mark.parametrize("bad", ["prefix", "next hop", "both"])
def test_a_learned_ipv6_route_is_rejected_by_name_and_ipv4_is_installed(source: str, bad: str) -> None:
    near = IPv4Address(neighbour_of(CLAIM))
    good = path(OWN, near)
    prefix = IPv4Network("10.80.1.21/32") if bad == "next hop" else NET_6
    hop = near if bad == "prefix" else HOP_6
    six = path(prefix, hop, source=source)
    desired = reflector(CLAIM, learned=learned(six, good), routings=("static",))
    assert set(desired.table("routes").values) >= {RouteKey(prefix=OWN)}
    assert RouteKey(prefix=prefix) not in desired.table("routes").values
    assert desired.rejected == (
        RejectedRoute(prefix=prefix, neighbour=hop, reason=UNSUPPORTED, source=source),
    )


def test_an_ipv6_neighbour_may_announce_what_the_general_policy_lets_in() -> None:
    near = IPv4Address(neighbour_of(CLAIM))
    route = path(OWN, near, neighbour=HOP_6, source="static")
    desired = reflector(CLAIM, learned=learned(route), routings=("static",))
    assert RouteKey(prefix=OWN) in desired.table("routes").values
    assert desired.rejected == ()


def test_ipv6_is_rejected_before_all_claims_are_known() -> None:
    desired = reflector(learned=learned(path(NET_6, HOP_6), complete=False))
    assert [each.reason for each in desired.rejected] == [UNSUPPORTED]
    assert all(each.prefix.version == 4 for each in desired.table("routes").values)


def test_sets_of_both_families_are_merged() -> None:
    near = IPv4Address("10.255.0.1")
    sets = {
        "a": RouteSet(routes=(path(OWN, near, source="a"), path(NET_6, HOP_6, source="a")), complete=True),
        "b": RouteSet(routes=(path(NET_6, near, source="b"), path(OWN, HOP_6, source="b")), complete=True),
    }
    found = merged(sets, {"a": 200, "b": 110})
    assert found is not None
    assert {(each.source, each.prefix) for each in found.routes if each.best} == {("b", OWN), ("b", NET_6)}


def test_prefixes_of_both_families_are_aggregated_apart() -> None:
    texts = ("10.0.0.0/32", "10.0.0.1/32")
    found = aggregated([*map(IPv4Network, texts), IPv6Network("::a00:0/128"), IPv6Network("::a00:1/128")])
    assert list(found) == [IPv4Network("10.0.0.0/31"), IPv6Network("::a00:0/127")]
