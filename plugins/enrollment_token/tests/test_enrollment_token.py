"""The join method against the published vectors and the contract of the family."""

from __future__ import annotations

import hashlib

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.errors import EnrollmentRefused, PermanentError
from routerd.model.claim import Claim, ClaimWireGuard, Placement
from routerd.model.names import PublicKey
from routerd.model.specs.claim_text import digest as digest_of
from routerd.model.specs.claim_text import signed_text
from routerd.spi import JoinMethod, Proof, Signing, Submission
from routerd.testing.contracts import EnrollmentContract, PluginContract
from routerd_enrollment_token import payload
from routerd_enrollment_token.config import TokenOptions
from routerd_enrollment_token.enrollment import TokenEnrollment
from routerd_enrollment_token.plugin import routerd_enrollments

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
B = Claim(
    name="leaf-b",
    policy_ref="SAMEnrollmentPolicy/fou",
    rr_set_ref="SAMRRSet/fou",
    leaf_id="leaf-b",
    tunnel_address="10.255.0.32",
)


class TestPlugin(PluginContract):
    name = "enrollment_token"


class TestToken(EnrollmentContract):
    @pytest.fixture
    def provider(self) -> JoinMethod:
        return routerd_enrollments()[0]

    @pytest.fixture
    def options(self) -> object:
        return TokenOptions()


@pytest.mark.parametrize(
    ("direct", "length", "digest"),
    [
        (False, 499, "68ddcab9090a5971d4c741e83f992797e5d07bea9299cdeca09104eb3515d863"),
        (True, 515, "899e009dd59c25d970e2d933f87789467435300a149788288683f8baf1f3e4fe"),
    ],
)
def test_the_signed_text_is_that_of_the_vectors(direct: bool, length: int, digest: str) -> None:
    text = signed_text(attrs.evolve(A, direct_mesh=direct))
    assert len(text) == length
    assert hashlib.sha256(text).hexdigest() == digest


@pytest.mark.parametrize(
    ("direct", "secret", "proof", "digest"),
    [
        (
            False,
            "test-join-token",
            "22916bc83388379036a8a7b7cfff485460c3f3890cf5da1169d1a915aeb75bd6",
            "sha256:ff975829c434e28f9e9f6263289050b30d1235490525272af4bf5284527a9b48",
        ),
        (
            False,
            "secret",
            "82078f927253b7303c2d258786713a3bdee98e6d875b38b03584e32938d43aff",
            "sha256:86e5c22386ad4081317d012b4543807989466317bdd6b50395cf12718b42a0b8",
        ),
        (
            True,
            "test-join-token",
            "0630d3fc1534880a234405e134c585618b6453e4e7b3ae968d2ca3d0a5495de0",
            "sha256:50ea3beaa1fcc3edda49136b0c40f972134510347294e619464eb5344735b629",
        ),
        (
            True,
            "secret",
            "95a1647a906206d92fc999ec693014f43b9c57eccad991e2e4f41ea88a201dce",
            "sha256:b7dffbc886e08d3b72f99780ed43531823c3d069271c0c1c4a0691f617411512",
        ),
    ],
)
async def test_proof_and_digest_are_those_of_the_vectors(
    direct: bool, secret: str, proof: str, digest: str
) -> None:
    claim = attrs.evolve(A, direct_mesh=direct)
    made = await TokenEnrollment().sign(Signing(claim=claim, secret=secret))
    assert made == Proof(join_hmac=proof)
    assert digest_of(attrs.evolve(claim, join_hmac=made.join_hmac)) == digest


def test_only_a_present_placement_is_signed_and_comes_last() -> None:
    """So that the signatures of claims without it stay as they are."""
    placed = attrs.evolve(A, placement=Placement(group=" site-a ", priority=10))
    tail = b"\nplacement.group=site-a\nplacement.priority=10"
    assert signed_text(placed) == signed_text(A) + tail
    other = attrs.evolve(A, placement=Placement(group="site-a", priority=20))
    assert payload.proof(other, "secret") != payload.proof(placed, "secret")


def test_a_claim_without_optional_fields_signs_like_the_vector() -> None:
    expected = "29cdc30aa4cd15e99aa68752dcfe386508d56d5c1ad7f6f6b5d455ea76b090da"
    assert payload.proof(B, "test-join-token") == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"join_hmac": ""}, "join-hmac-required"),
        ({"join_hmac": payload.proof(A, "other")}, "join-hmac-mismatch"),
        ({"join_hmac": payload.proof(A, "secret").upper()}, "join-hmac-mismatch"),
        ({"join_hmac": "é"}, "join-hmac-mismatch"),
        ({"owned_addresses": ("10.77.60.32/32",)}, "join-hmac-mismatch"),
    ],
)
async def test_each_refusal_has_its_reason(change: dict[str, str], reason: str) -> None:
    claim: Claim = attrs.evolve(attrs.evolve(A, join_hmac=payload.proof(A, "secret")), **change)  # type: ignore[arg-type]  # by the parametrisation
    with pytest.raises(EnrollmentRefused, match="claim leaf-a of leaf leaf-a") as refused:
        await TokenEnrollment().verify(_submission(claim, "secret"))
    assert refused.value.reason == reason


async def test_without_a_token_every_claim_is_refused() -> None:
    claim = attrs.evolve(A, join_hmac=payload.proof(A, "secret"))
    with pytest.raises(EnrollmentRefused) as refused:
        await TokenEnrollment().verify(_submission(claim))
    assert refused.value.reason == "join-token-missing"


async def test_an_empty_token_signs_nothing() -> None:
    with pytest.raises(PermanentError):
        await TokenEnrollment().sign(Signing(claim=A, secret=""))


words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=20)
blanks = st.text(" \t", max_size=3)


@given(st.lists(words, max_size=6), st.randoms())
def test_the_order_of_a_list_is_not_signed(items: list[str], random: object) -> None:
    shuffled = sorted(items, key=lambda _: random.random())  # type: ignore[attr-defined]  # hypothesis gives object
    one = attrs.evolve(B, owned_addresses=tuple(items))
    assert signed_text(one) == signed_text(attrs.evolve(B, owned_addresses=tuple(shuffled)))


@given(words, blanks, blanks)
def test_blanks_around_a_scalar_are_not_signed(text: str, before: str, after: str) -> None:
    bare = attrs.evolve(B, leaf_id=text, endpoint=text, router_id=text)
    padded = f"{before}{text}{after}"
    assert signed_text(bare) == signed_text(
        attrs.evolve(B, leaf_id=padded, endpoint=padded, router_id=padded)
    )


@given(words, st.sampled_from(["policy_ref", "leaf_id", "join_nonce", "tunnel_address", "router_id"]))
def test_every_scalar_is_signed(text: str, field: str) -> None:
    changed: Claim = attrs.evolve(B, **{field: text})  # type: ignore[arg-type]  # by the parametrisation
    same = getattr(B, field).strip() == text.strip()
    assert (signed_text(changed) == signed_text(B)) == same


@given(words)
def test_the_reflectors_fields_are_not_signed_but_digested(text: str) -> None:
    changed = attrs.evolve(B, expires_at=text, revoked=True, name=text)
    assert signed_text(changed) == signed_text(B)
    assert digest_of(changed) != digest_of(B)


def _submission(claim: Claim, *secrets: str) -> Submission:
    return Submission(claim=claim, proof=Proof(join_hmac=claim.join_hmac), secrets=secrets)
