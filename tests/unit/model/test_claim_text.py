"""The texts of a claim that proofs and digests cover, against the published vectors."""

from __future__ import annotations

import hashlib
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.vectors import LEAF_A, PROOFS, TEXTS

from routerd.model.claim import Claim, Placement
from routerd.model.specs.claim_codec import claim_from_document, claim_to_document
from routerd.model.specs.claim_text import bound_text, digest, signed_text

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


@pytest.mark.parametrize(("direct", "length", "expected"), TEXTS)
def test_the_signed_text_is_that_of_the_vectors(direct: bool, length: int, expected: str) -> None:
    text = signed_text(attrs.evolve(LEAF_A, direct_mesh=direct))
    assert len(text) == length
    assert hashlib.sha256(text).hexdigest() == expected


@pytest.mark.parametrize(("direct", "_secret", "proof", "expected"), PROOFS)
def test_the_digest_is_that_of_the_vectors(direct: bool, _secret: str, proof: str, expected: str) -> None:
    assert digest(attrs.evolve(LEAF_A, direct_mesh=direct, join_hmac=proof)) == expected


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Claim) if field.name != "join_hmac"])
def test_the_bound_text_covers_every_field(field: str) -> None:
    changed: Claim = attrs.evolve(LEAF_A, **{field: CHANGES[field]})  # type: ignore[arg-type]  # by the table
    assert bound_text(changed, method="m") != bound_text(LEAF_A, method="m")


def test_it_does_not_cover_the_proof_and_covers_method_and_challenge() -> None:
    text = bound_text(LEAF_A, method="m", challenge="c")
    assert bound_text(attrs.evolve(LEAF_A, join_hmac="x"), method="m", challenge="c") == text
    others = [bound_text(LEAF_A, method="n", challenge="c"), bound_text(LEAF_A, method="m", challenge="d")]
    assert len({text, *others, bound_text(LEAF_A, method="m")}) == 4


def test_its_form_is_fixed() -> None:
    """Both ends compute it, and they may be of two versions."""
    head, _, document = bound_text(LEAF_A, method="m", challenge="c").rpartition(b"\n")
    assert head == b"routerd-join/1\nm\nc"
    assert json.loads(document) == claim_to_document(LEAF_A)
    assert hashlib.sha256(bound_text(LEAF_A, method="m", challenge="c")).hexdigest() == (
        "6019428c90e5545548324fba1a9b518654c7759060e40d39775ccd088521786b"
    )


@given(st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=1, max_size=20))
def test_a_reflector_computes_it_from_what_it_received(text: str) -> None:
    sent = attrs.evolve(LEAF_A, leaf_id=text or "x", owned_addresses=(text, "b"), join_audience=text)
    received = claim_from_document(json.loads(json.dumps(claim_to_document(sent))))
    assert bound_text(received, method="m") == bound_text(sent, method="m")
