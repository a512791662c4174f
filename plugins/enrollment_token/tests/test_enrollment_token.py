"""The join method against the published vectors and the contract of the family."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.vectors import LEAF_A, PROOFS

from routerd.errors import EnrollmentRefused, PermanentError
from routerd.model.claim import Claim, Placement
from routerd.model.specs.claim_text import digest as digest_of
from routerd.model.specs.claim_text import signed_text
from routerd.spi import JoinMethod, Proof, Signing, Submission
from routerd.testing.contracts import EnrollmentContract, PluginContract
from routerd_enrollment_token import payload
from routerd_enrollment_token.config import TokenOptions
from routerd_enrollment_token.enrollment import TokenEnrollment
from routerd_enrollment_token.plugin import routerd_enrollments

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


@pytest.mark.parametrize(("direct", "secret", "proof", "digest"), PROOFS)
async def test_proof_and_digest_are_those_of_the_vectors(
    direct: bool, secret: str, proof: str, digest: str
) -> None:
    claim = attrs.evolve(LEAF_A, direct_mesh=direct)
    made = await TokenEnrollment().sign(Signing(claim=claim, secret=secret))
    assert made == Proof(join_hmac=proof)
    assert digest_of(attrs.evolve(claim, join_hmac=made.join_hmac)) == digest


def test_only_a_present_placement_is_signed_and_comes_last() -> None:
    """So that the signatures of claims without it stay as they are."""
    placed = attrs.evolve(LEAF_A, placement=Placement(group=" site-a ", priority=10))
    tail = b"\nplacement.group=site-a\nplacement.priority=10"
    assert signed_text(placed) == signed_text(LEAF_A) + tail
    other = attrs.evolve(LEAF_A, placement=Placement(group="site-a", priority=20))
    assert payload.proof(other, "secret") != payload.proof(placed, "secret")


def test_a_claim_without_optional_fields_signs_like_the_vector() -> None:
    expected = "29cdc30aa4cd15e99aa68752dcfe386508d56d5c1ad7f6f6b5d455ea76b090da"
    assert payload.proof(B, "test-join-token") == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"join_hmac": ""}, "join-hmac-required"),
        ({"join_hmac": payload.proof(LEAF_A, "other")}, "join-hmac-mismatch"),
        ({"join_hmac": payload.proof(LEAF_A, "secret").upper()}, "join-hmac-mismatch"),
        ({"join_hmac": "é"}, "join-hmac-mismatch"),
        ({"owned_addresses": ("10.77.60.32/32",)}, "join-hmac-mismatch"),
    ],
)
async def test_each_refusal_has_its_reason(change: dict[str, str], reason: str) -> None:
    claim: Claim = attrs.evolve(attrs.evolve(LEAF_A, join_hmac=payload.proof(LEAF_A, "secret")), **change)  # type: ignore[arg-type]  # by the parametrisation
    with pytest.raises(EnrollmentRefused, match="claim leaf-a of leaf leaf-a") as refused:
        await TokenEnrollment().verify(_submission(claim, "secret"))
    assert refused.value.reason == reason


async def test_without_a_token_every_claim_is_refused() -> None:
    claim = attrs.evolve(LEAF_A, join_hmac=payload.proof(LEAF_A, "secret"))
    with pytest.raises(EnrollmentRefused) as refused:
        await TokenEnrollment().verify(_submission(claim))
    assert refused.value.reason == "join-token-missing"


async def test_an_empty_token_signs_nothing() -> None:
    with pytest.raises(PermanentError):
        await TokenEnrollment().sign(Signing(claim=LEAF_A, secret=""))


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
