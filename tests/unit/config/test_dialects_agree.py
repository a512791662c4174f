"""The two dialects of one fabric lead to one desired state."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.modes import MODES

from routerd import config
from routerd.model import specs
from routerd.model.claim import AdmittedClaim, Topology
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.rr_set import reflectors, static_reflectors, topology_document
from routerd.reconcile.derive import derive
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.desired import Desired

EXAMPLES = Path(__file__).parents[3] / "examples"
SITES = ("aws", "azure", "oci", "pve")
NOW = datetime(2026, 6, 29, tzinfo=UTC)
DIALECTS = ("", "seed-dialect/")


def claims_of(dialect: str) -> tuple[AdmittedClaim, ...]:
    found = []
    for site in SITES:
        (claim,) = config.load(EXAMPLES / f"{dialect}fullmesh-leaf-{site}.yaml").of(
            specs.SAMEnrollmentClaimSpec
        )
        value = claim_from_spec(claim.name, claim.spec)
        found.append(AdmittedClaim(claim=value, admitted_at=NOW, expires_at=None))
    return tuple(found)


def reflector_state(dialect: str) -> Desired:
    intent = config.load(EXAMPLES / f"{dialect}fullmesh-rr.yaml").intent
    reflectors_of_file = static_reflectors(intent)
    return derive(
        Inputs(
            modes=MODES,
            intent=intent,
            now=NOW,
            claims=claims_of(dialect),
            static_reflectors=reflectors_of_file,
        )
    )


def leaf_state(dialect: str, reflector_dialect: str, site: str) -> Desired:
    intent = config.load(EXAMPLES / f"{dialect}fullmesh-leaf-{site}.yaml").intent
    theirs = config.load(EXAMPLES / f"{reflector_dialect}fullmesh-rr.yaml").intent
    (policy,) = theirs.of(specs.SAMEnrollmentPolicySpec)
    fetched = Topology(rr_set="fullmesh-rrs", reflectors=reflectors(topology_document(theirs, policy.spec)))
    own = {
        claim.claim.name: claim.claim for claim in claims_of(dialect) if claim.claim.leaf_id == intent.node
    }
    return derive(
        Inputs(modes=MODES, intent=intent, now=NOW, own_claims=own, topologies={"fullmesh-rrs": fetched})
    )


def values(desired: Desired) -> dict[str, object]:
    return {name: dict(table.values) for name, table in desired.tables.items()}


def test_both_dialects_give_a_reflector_the_same_desired_state() -> None:
    later, seed = (values(reflector_state(dialect)) for dialect in DIALECTS)
    assert later == seed
    assert len(later["tunnels/ipip"]) == len(SITES)  # type: ignore[arg-type]  # a table


@pytest.mark.parametrize("reflector_dialect", DIALECTS, ids=["of a later reflector", "of a seed reflector"])
@pytest.mark.parametrize("site", SITES)
def test_both_dialects_give_a_leaf_the_same_desired_state(site: str, reflector_dialect: str) -> None:
    later, seed = (values(leaf_state(dialect, reflector_dialect, site)) for dialect in DIALECTS)
    assert later == seed
    assert len(later["tunnels/ipip"]) == 1  # type: ignore[arg-type]  # a table


@pytest.mark.parametrize("site", SITES)
def test_a_reflector_of_either_dialect_gives_a_leaf_the_same_desired_state(site: str) -> None:
    assert values(leaf_state("", "", site)) == values(leaf_state("", "seed-dialect/", site))
