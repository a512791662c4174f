"""Claims and sets of route reflectors on the wire, in both dialects."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from routerd.model.claim import Claim, ClaimWireGuard, Placement
from routerd.model.names import PublicKey
from routerd.model.specs.claim_codec import claim_from_document, claim_to_document
from routerd.model.specs.rr_set import reflectors

texts = st.text(max_size=12)
claims = st.builds(
    Claim,
    name=st.text(min_size=1, max_size=12, alphabet="abc-01"),
    policy_ref=texts,
    leaf_id=texts,
    tunnel_address=texts,
    rr_set_ref=texts,
    join_audience=texts,
    join_nonce=texts,
    join_timestamp=texts,
    join_hmac=texts,
    endpoint=texts,
    owned_addresses=st.lists(texts, max_size=3).map(tuple),
    asn=st.integers(min_value=0, max_value=2**32 - 1),
    router_id=texts,
    wireguard=st.none()
    | st.builds(
        ClaimWireGuard,
        public_key=texts.map(PublicKey),
        endpoint=texts,
        allowed_ips=st.lists(texts, max_size=3).map(tuple),
        persistent_keepalive=st.integers(min_value=0, max_value=65535),
    ),
    direct_mesh=st.booleans(),
    placement=st.none() | st.builds(Placement, group=texts, priority=st.integers(0, 2**31)),
    expires_at=texts,
    revoked=st.booleans(),
)


@given(claims)
def test_a_claim_survives_the_wire_letter_by_letter(claim: Claim) -> None:
    again = claim_from_document(claim_to_document(claim))
    # Parts that say nothing may be left out.
    if claim.wireguard == ClaimWireGuard(public_key=PublicKey("")):
        claim = attrs.evolve(claim, wireguard=again.wireguard)
    if claim.placement == Placement(group="", priority=0):
        claim = attrs.evolve(claim, placement=again.placement)
    assert again == claim


def test_a_document_has_no_empty_fields() -> None:
    claim = Claim(name="aws-leaf", policy_ref="P/x", leaf_id="aws-leaf", tunnel_address="10.255.16.11/32")
    assert claim_to_document(claim) == {
        "apiVersion": "mobility.routerd.net/v1alpha1",
        "kind": "SAMEnrollmentClaim",
        "metadata": {"name": "aws-leaf"},
        "spec": {"policyRef": "P/x", "leafID": "aws-leaf", "tunnelAddress": "10.255.16.11/32"},
    }


def document(**spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "mobility.routerd.net/v1alpha1",
        "kind": "SAMEnrollmentClaim",
        "metadata": {"name": "x"},
        "spec": {"policyRef": "p", **spec},
    }


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "claim must be an object"),
        ({}, "claim must be of apiVersion"),
        ({**document(), "metadata": {}}, "metadata.name is required"),
        ({**document(), "more": 1}, "claim has unknown field more"),
        (document(leafId="x"), "spec has unknown field leafId"),
        (document(leafID=1), "spec.leafID must be text"),
        (document(bgp={"asn": True}), "spec.bgp.asn must be an integer"),
        (document(bgp=[]), "spec.bgp must be an object"),
        (document(revoked="no"), "spec.revoked must be true or false"),
        (document(mobility={"ownedAddresses": "10.0.0.1/32"}), "spec.mobility.ownedAddresses must be a list"),
        (document(wireGuard={"allowedIPs": [1]}), "spec.wireGuard.allowedIPs must be a list of texts"),
    ],
)
def test_a_malformed_claim_is_refused_with_its_field(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        claim_from_document(value)


def rr_set(**spec: object) -> dict[str, Any]:
    return {"apiVersion": "mobility.routerd.net/v1alpha1", "kind": "SAMRRSet", "spec": spec}


MEMBER = {"nodeRef": "rr", "endpoint": "203.0.113.147", "tunnelAddress": "10.255.16.1/32"}
WIREGUARD = {"publicKey": "k", "endpoint": "203.0.113.147:51820", "allowedIPs": ["10.20.0.1/32"]}


def test_a_member_tunnels_to_its_first_allowed_address_and_also_takes_its_tunnel_address() -> None:
    (found,) = reflectors(rr_set(members=[{**MEMBER, "wireGuard": WIREGUARD, "bgp": {"asn": 64577}}]))
    assert found.transport_address == IPv4Address("10.20.0.1")
    assert found.asn == 64577
    assert found.wireguard is not None
    assert found.wireguard.allowed_ips == (IPv4Network("10.255.16.1/32"), IPv4Network("10.20.0.1/32"))


def test_the_transport_address_of_a_member_without_wireguard_is_its_endpoint() -> None:
    (found,) = reflectors(rr_set(members=[MEMBER]))
    assert found.transport_address == found.endpoint == IPv4Address("203.0.113.147")
    assert found.wireguard is None


def test_a_node_names_its_transport_endpoint_and_keeps_its_allowed_addresses() -> None:
    node = {"nodeRef": "rr", "samEndpoint": "203.0.113.147/24"}
    (found,) = reflectors(
        rr_set(nodes=[{**node, "wireGuard": {**WIREGUARD, "transportEndpoint": "10.20.0.1"}}])
    )
    assert found.transport_address == IPv4Address("10.20.0.1")
    assert found.endpoint == IPv4Address("203.0.113.147")
    assert found.wireguard is not None
    assert found.wireguard.allowed_ips == (IPv4Network("10.20.0.1/32"),)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"kind": "SAMNodeSet"},
        rr_set(),
        {**rr_set(), "spec": []},
        rr_set(members=[{}]),
        rr_set(members=["rr"]),
        rr_set(members=[{**MEMBER, "endpoint": "rr.example"}]),
        rr_set(members=[{**MEMBER, "wireGuard": {"publicKey": "k"}}]),
        rr_set(nodes=[{"nodeRef": "rr"}]),
        rr_set(nodes=[{"nodeRef": "rr", "samEndpoint": "203.0.113.1", "wireGuard": {"endpoint": "x"}}]),
    ],
)
def test_a_malformed_set_of_reflectors_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        reflectors(value)
