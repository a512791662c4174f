"""Names and numbers that both ends compute; the vectors come from the existing programs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.names import (
    conservative_name,
    edge_slot,
    pair_slot,
    slot_addresses,
    slot_capacity,
    tunnel_link_name,
)

INNER_20 = IPv4Network("10.255.0.0/20")
INNER_24 = IPv4Network("10.255.1.0/24")


@pytest.mark.parametrize(
    ("inner", "one", "other", "slot"),
    [
        (INNER_24, "pve-rt", "node-03", 12), (INNER_24, "pve-rt", "node-50", 12),
        (INNER_24, "cloud-rt", "onprem-rt", 28), (INNER_20, "leaf-a", "rr-a", 1041),
        (INNER_20, "leaf-a", "rr-b", 1784), (INNER_20, "aws-leaf", "routerd-fullmesh-rr", 1358),
        (INNER_20, "azure-leaf", "routerd-fullmesh-rr", 28),
        (INNER_20, "oci-leaf", "routerd-fullmesh-rr", 2018),
        (INNER_20, "pve-leaf", "routerd-fullmesh-rr", 2014),
    ],
)  # fmt: skip
def test_the_slot_of_a_pair(inner: IPv4Network, one: str, other: str, slot: int) -> None:
    assert pair_slot(inner, one, other) == pair_slot(inner, other, one) == slot


def test_the_lower_name_has_the_even_address() -> None:
    ours, theirs = slot_addresses(INNER_20, 1041, "leaf-a", "rr-a")
    assert (ours, theirs) == (IPv4Interface("10.255.8.34/31"), IPv4Address("10.255.8.35"))
    assert slot_addresses(INNER_20, 1041, "rr-a", "leaf-a")[0] == IPv4Interface("10.255.8.35/31")


def test_edges_are_numbered_through_all_sorted_pairs() -> None:
    assert edge_slot(("onprem-rt", "cloud-rt"), "cloud-rt", "onprem-rt") == 0
    nodes = ("a", "b", "c", "d")
    pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    assert [edge_slot(nodes, *pair) for pair in pairs] == list(range(6))


@pytest.mark.parametrize(
    ("profile", "self_node", "peer", "name"),
    [
        ("demo", "cloud-rt", "onprem-rt", "samt339a789ef35"),
        ("demo", "onprem-rt", "cloud-rt", "samtb225072451c"),
        ("cloudedge", "leaf-a", "rr-a", "samt337f89b77f2"),
    ],
)  # fmt: skip
def test_the_name_of_a_tunnel_depends_on_its_direction(
    profile: str, self_node: str, peer: str, name: str
) -> None:
    assert tunnel_link_name(profile, self_node, peer) == name
    assert len(name.encode()) <= 15


def test_a_slash_24_holds_128_tunnels() -> None:
    assert [slot_capacity(IPv4Network(f"10.0.0.0/{length}")) for length in (31, 24, 20, 16)] == [
        1,
        128,
        2048,
        32768,
    ]
    with pytest.raises(ValueError, match="holds no /31"):
        slot_capacity(IPv4Network("10.0.0.0/32"))


@given(st.text())
def test_a_conservative_name_stays_the_same(text: str) -> None:
    name = conservative_name(text)
    assert conservative_name(name) == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
