"""The basic values: changes, resources, claims, and the remaining vectors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.change import Change
from routerd.model.claim import AdmittedClaim, Claim, ClaimWireGuard
from routerd.model.intent import Intent
from routerd.model.names import (
    MAX_LINK_NAME,
    NodeName,
    PublicKey,
    edge_slot,
    fnv1a_32,
    fnv1a_64,
    pair_slot,
    slot_addresses,
    slot_capacity,
    tunnel_link_name,
)
from routerd.model.resource import Resource, ResourceId, SourceLocation
from routerd.model.tunnel import Endpoint

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(
    lambda text: text == text.strip()
)
prefixes = st.integers(8, 31).map(lambda length: IPv4Network(f"10.0.0.0/{length}"))


def test_the_hashes_are_fnv_1a() -> None:
    # The published vectors of the algorithm for the empty text and for "foobar".
    assert (fnv1a_32(b""), fnv1a_32(b"foobar")) == (0x811C9DC5, 0xBF9CF968)
    assert (fnv1a_64(b""), fnv1a_64(b"foobar")) == (0xCBF29CE484222325, 0x85944171F73967E8)


@pytest.mark.parametrize(
    ("inner", "low", "high", "even"),
    [
        ("10.255.1.0/24", "node-03", "pve-rt", "10.255.1.24"),
        ("10.255.1.0/24", "cloud-rt", "onprem-rt", "10.255.1.56"),
        ("10.255.0.0/20", "leaf-a", "rr-b", "10.255.13.240"),
        ("10.255.0.0/20", "leaf-b", "rr-a", "10.255.4.28"),
        ("10.255.0.0/20", "aws-leaf", "routerd-fullmesh-rr", "10.255.10.156"),
        ("10.255.0.0/20", "azure-leaf", "routerd-fullmesh-rr", "10.255.0.56"),
        ("10.255.0.0/20", "oci-leaf", "routerd-fullmesh-rr", "10.255.15.196"),
        ("10.255.0.0/20", "pve-leaf", "routerd-fullmesh-rr", "10.255.15.188"),
    ],
)
def test_both_addresses_of_a_pair(inner: str, low: str, high: str, even: str) -> None:
    prefix = IPv4Network(inner)
    slot = pair_slot(prefix, high, low)
    address = IPv4Address(even)
    assert slot_addresses(prefix, slot, low, high)[0].ip == address
    assert slot_addresses(prefix, slot, low, high)[1] == address + 1
    assert slot_addresses(prefix, slot, high, low)[0].ip == address + 1


@given(prefixes, names, names)
def test_both_ends_agree_on_a_slot_inside_the_prefix(prefix: IPv4Network, one: str, other: str) -> None:
    slot = pair_slot(prefix, one, other)
    assert slot == pair_slot(prefix, f" {other} ", one)
    assert 0 <= slot < slot_capacity(prefix)
    if one != other:
        ours, theirs = slot_addresses(prefix, slot, one, other)
        back, forth = slot_addresses(prefix, slot, other, one)
        assert (ours.ip, theirs) == (forth, back.ip)
        assert ours.network.subnet_of(prefix)
        assert theirs in ours.network


@given(st.sets(names, min_size=2, max_size=9))
def test_the_edges_of_a_topology_are_numbered_without_gap_and_without_clash(nodes: set[str]) -> None:
    ordered = tuple(nodes)
    slots = [edge_slot(ordered, one, other) for one in nodes for other in nodes if one < other]
    assert sorted(slots) == list(range(len(nodes) * (len(nodes) - 1) // 2))


def test_an_edge_of_a_node_that_is_not_in_the_topology_is_refused() -> None:
    with pytest.raises(ValueError, match="not in"):
        edge_slot(("a", "b"), "a", "c")


@given(names, names, names)
def test_a_tunnels_name_fits_the_kernel(profile: str, one: str, other: str) -> None:
    name = tunnel_link_name(profile, one, other)
    assert len(name.encode()) <= MAX_LINK_NAME
    assert name.isalnum()


# --- change ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "verb"),
    [(None, 1, "create"), (1, 2, "replace"), (1, None, "delete"), (0, 0, "replace")],
)
def test_the_verb_of_a_change(before: int | None, after: int | None, verb: str) -> None:
    change = Change(key="k", before=before, after=after)
    assert change.verb == verb
    if after is None:
        with pytest.raises(ValueError, match="the change deletes k"):
            _ = change.desired
    else:
        assert change.desired == after


# --- resources -------------------------------------------------------------------------------------


def test_a_field_without_a_line_has_the_line_of_its_enclosing_field() -> None:
    at = SourceLocation("f", 3, {"spec": 5, "spec.a": 6, "spec.list[0]": 9})
    assert at.line_of("spec.a") == 6
    assert at.line_of("spec.a.b.c") == 6
    assert at.line_of("spec.x") == 5
    assert at.line_of("spec.list[0].name") == 9
    assert at.line_of("metadata.name") == 3
    assert at.line_of("") == 3


@attrs.frozen
class Thing:
    size: int = 0


@attrs.frozen
class Other:
    pass


def resource(name: str, spec: object, line: int = 0) -> Resource[object]:
    identity = ResourceId("x/v1", type(spec).__name__, name)
    return Resource(id=identity, spec=spec, source=SourceLocation("f", line))


def test_the_source_of_a_resource_does_not_count_in_comparisons() -> None:
    assert resource("a", Thing(), 1) == resource("a", Thing(), 2)


def test_an_intent_finds_resources_by_type_and_by_either_form_of_their_name() -> None:
    intent = Intent(
        node=NodeName("n"),
        resources=(resource("b", Thing(1)), resource("a", Other()), resource("a", Thing(2))),
    )
    assert [found.spec.size for found in intent.of(Thing)] == [1, 2]
    first = intent.first(Thing)
    assert first is not None
    assert first.name == "b"
    for ref in ("a", "Thing/a", " Thing/a "):
        found = intent.get(ref, Thing)
        assert found is not None
        assert (found.ref, found.spec.size) == ("Thing/a", 2)
    assert intent.get("c", Thing) is None


# --- claims ----------------------------------------------------------------------------------------


def claim(**more: object) -> Claim:
    fields: dict[str, object] = {
        "name": "c",
        "policy_ref": "p",
        "leaf_id": "l",
        "tunnel_address": "10.0.0.1/32",
    }
    return Claim(**(fields | more))  # type: ignore[arg-type]


def test_a_claim_holds_its_texts_as_signed_without_white_space_around_and_has_typed_views() -> None:
    made = claim(tunnel_address=" 10.0.0.1/32 ", owned_addresses=("10.1.0.1", "10.1.0.2/32"))
    assert made.tunnel_address == "10.0.0.1/32"
    assert made.owned_addresses == ("10.1.0.1", "10.1.0.2/32")
    assert made.tunnel_host == made.endpoint_host == IPv4Address("10.0.0.1")
    assert made.owned == {IPv4Network("10.1.0.1/32"), IPv4Network("10.1.0.2/32")}
    assert claim(endpoint="192.0.2.1/32").endpoint_host == IPv4Address("192.0.2.1")


def test_a_leaf_behind_nat_has_no_udp_endpoint() -> None:
    key = PublicKey("k")
    assert ClaimWireGuard(public_key=key).udp_endpoint is None
    endpoint = ClaimWireGuard(public_key=key, endpoint="192.0.2.1:51820").udp_endpoint
    assert endpoint == Endpoint(address=IPv4Address("192.0.2.1"), port=51820)
    assert str(endpoint) == "192.0.2.1:51820"


def test_a_claim_admits_until_it_expires_and_never_when_revoked() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    end = now + timedelta(hours=1)
    admitted = AdmittedClaim(claim=claim(), admitted_at=now, expires_at=end)
    assert admitted.active(end - timedelta(microseconds=1))
    assert not admitted.active(end)
    assert attrs.evolve(admitted, expires_at=None).active(end + timedelta(days=10000))
    assert not attrs.evolve(admitted, claim=claim(revoked=True), expires_at=None).active(now)
