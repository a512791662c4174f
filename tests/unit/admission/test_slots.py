"""Which /31 a leaf takes by being admitted, and who has it already."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path

import attrs
from tests.support.modes import MODES

from routerd import config
from routerd.admission.holdings import Holdings
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.intent import Intent, Named
from routerd.model.specs import SAMEnrollmentPolicySpec
from routerd.model.specs.link_slots import slot_spaces
from routerd.reconcile.derive import Inputs, derive

EXAMPLES = Path(__file__).parents[3] / "examples"
KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
CLAIM = Claim(
    name="c",
    policy_ref="SAMEnrollmentPolicy/fullmesh-leaves",
    leaf_id="aws-leaf",
    tunnel_address="10.255.16.11",
)
SLOT = IPv4Network("10.255.10.156/31")


def intent(edit: tuple[str, str] = ("", "")) -> Intent:
    text = (EXAMPLES / "fullmesh-rr.yaml").read_text()
    text = text.replace("REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam", KEY)
    assert edit[0] in text
    return config.load_text(text.replace(*edit) if edit[0] else text, file="rr.yaml").intent


def policy(of: Intent) -> Named[SAMEnrollmentPolicySpec]:
    found = of.first(SAMEnrollmentPolicySpec)
    assert found is not None
    return found


def claim(leaf: str) -> Claim:
    return attrs.evolve(CLAIM, name=leaf.strip(), leaf_id=leaf, policy_ref=policy(intent()).ref)


def test_a_leaf_takes_the_slot_of_its_pair_with_us() -> None:
    (space,) = slot_spaces(intent(), policy(intent()))
    slot = space.slot("aws-leaf")
    assert (slot.network, slot.own) == (SLOT, "routerd-fullmesh-rr")
    assert slot.profile.startswith("SAMTransportProfile/")


def test_it_is_the_slot_that_derivation_uses() -> None:
    now = datetime(2026, 6, 29, tzinfo=UTC)
    admitted = AdmittedClaim(claim=claim("aws-leaf"), admitted_at=now, expires_at=None)
    (tunnel,) = (
        derive(Inputs(modes=MODES, intent=intent(), now=now, claims=(admitted,)))
        .table("tunnels/ipip")
        .values.values()
    )
    assert tunnel.addresses[0].network == SLOT


def holdings(*claims: Claim) -> Holdings:
    now = datetime(2026, 6, 29, tzinfo=UTC)
    held = (AdmittedClaim(claim=each, admitted_at=now, expires_at=None) for each in claims)
    return Holdings(intent(), held)


def test_an_admitted_leaf_holds_its_slot() -> None:
    now = datetime(2026, 6, 29, tzinfo=UTC)
    assert holdings(claim(" aws-leaf ")).slot_holder(SLOT, but="", now=now) == "aws-leaf"
    assert holdings(claim("aws-leaf")).slot_holder(SLOT, but="aws-leaf", now=now) is None


def test_a_claim_under_a_policy_of_another_router_holds_nothing() -> None:
    other = attrs.evolve(claim("aws-leaf"), policy_ref="SAMEnrollmentPolicy/elsewhere")
    assert holdings(other).slot_holder(SLOT, but="", now=datetime(2026, 6, 29, tzinfo=UTC)) is None


def test_edges_have_no_slots_of_their_own() -> None:
    edges = intent(("addressingMode: pair-stable", "addressingMode: edge-index"))
    assert list(slot_spaces(edges, policy(edges))) == []
