"""The texts of a claim that proofs and digests cover, against the published vectors."""

from __future__ import annotations

import hashlib
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.claim import Claim, ClaimWireGuard, Placement
from routerd.model.names import PublicKey
from routerd.model.specs.claim_codec import claim_from_document, claim_to_document
from routerd.model.specs.claim_text import bound_text, digest, signed_text

A = Claim(
    name="leaf-a",
    policy_ref=" SAMEnrollmentPolicy/cloudedge-leaves ",
    rr_set_ref="SAMRRSet/cloudedge-rrs",
    leaf_id=" leaf-a ",
    join_audience="cloudedge-public-underlay",
    join_nonce="nonce-1",
    join_timestamp="2026-06-28T00:00:00Z",
    tunnel_address="10.255.0.31/32",
    endpoint="198.51.100.31",
    owned_addresses=("10.77.60.31/32", "10.77.60.30/32"),
    asn=64577,
    router_id="10.255.0.31",
    wireguard=ClaimWireGuard(
        public_key=PublicKey("LEAF_A_WIREGUARD_PUBLIC_KEY"),
        endpoint="198.51.100.31:51820",
        allowed_ips=("10.255.0.31/32", "10.20.0.31/32"),
        persistent_keepalive=25,
    ),
)
CHANGES = {
    "name": "b",
    "policy_ref": "p",
    "rr_set_ref": "r",
    "leaf_id": "l",
    "join_audience": "a",
    "join_nonce": "n",
    "join_timestamp": "t",
    "tunnel_address": "10.0.0.1",
    "endpoint": "10.0.0.2",
    "direct_mesh": True,
    "owned_addresses": ("10.77.60.30/32", "10.77.60.31/32"),
    "asn": 1,
    "router_id": "10.0.0.3",
    "expires_at": "2027-01-01T00:00:00Z",
    "revoked": True,
    "wireguard": None,
    "placement": Placement(group="site", priority=1),
}


@pytest.mark.parametrize(
    ("direct", "length", "expected"),
    [
        (False, 499, "68ddcab9090a5971d4c741e83f992797e5d07bea9299cdeca09104eb3515d863"),
        (True, 515, "899e009dd59c25d970e2d933f87789467435300a149788288683f8baf1f3e4fe"),
    ],
)
def test_the_signed_text_is_that_of_the_vectors(direct: bool, length: int, expected: str) -> None:
    text = signed_text(attrs.evolve(A, direct_mesh=direct))
    assert len(text) == length
    assert hashlib.sha256(text).hexdigest() == expected


@pytest.mark.parametrize(
    ("direct", "proof", "expected"),
    [
        (
            False,
            "22916bc83388379036a8a7b7cfff485460c3f3890cf5da1169d1a915aeb75bd6",
            "sha256:ff975829c434e28f9e9f6263289050b30d1235490525272af4bf5284527a9b48",
        ),
        (
            False,
            "82078f927253b7303c2d258786713a3bdee98e6d875b38b03584e32938d43aff",
            "sha256:86e5c22386ad4081317d012b4543807989466317bdd6b50395cf12718b42a0b8",
        ),
        (
            True,
            "0630d3fc1534880a234405e134c585618b6453e4e7b3ae968d2ca3d0a5495de0",
            "sha256:50ea3beaa1fcc3edda49136b0c40f972134510347294e619464eb5344735b629",
        ),
        (
            True,
            "95a1647a906206d92fc999ec693014f43b9c57eccad991e2e4f41ea88a201dce",
            "sha256:b7dffbc886e08d3b72f99780ed43531823c3d069271c0c1c4a0691f617411512",
        ),
    ],
)
def test_the_digest_is_that_of_the_vectors(direct: bool, proof: str, expected: str) -> None:
    assert digest(attrs.evolve(A, direct_mesh=direct, join_hmac=proof)) == expected


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Claim) if field.name != "join_hmac"])
def test_the_bound_text_covers_every_field(field: str) -> None:
    changed: Claim = attrs.evolve(A, **{field: CHANGES[field]})  # type: ignore[arg-type]  # by the table
    assert bound_text(changed, method="m") != bound_text(A, method="m")


def test_it_does_not_cover_the_proof_and_covers_method_and_challenge() -> None:
    text = bound_text(A, method="m", challenge="c")
    assert bound_text(attrs.evolve(A, join_hmac="x"), method="m", challenge="c") == text
    others = [bound_text(A, method="n", challenge="c"), bound_text(A, method="m", challenge="d")]
    assert len({text, *others, bound_text(A, method="m")}) == 4


def test_its_form_is_fixed() -> None:
    """Both ends compute it, and they may be of two versions."""
    head, _, document = bound_text(A, method="m", challenge="c").rpartition(b"\n")
    assert head == b"routerd-join/1\nm\nc"
    assert json.loads(document) == claim_to_document(A)
    assert hashlib.sha256(bound_text(A, method="m", challenge="c")).hexdigest() == (
        "6019428c90e5545548324fba1a9b518654c7759060e40d39775ccd088521786b"
    )


@given(st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=1, max_size=20))
def test_a_reflector_computes_it_from_what_it_received(text: str) -> None:
    sent = attrs.evolve(A, leaf_id=text or "x", owned_addresses=(text, "b"), join_audience=text)
    received = claim_from_document(json.loads(json.dumps(claim_to_document(sent))))
    assert bound_text(received, method="m") == bound_text(sent, method="m")
