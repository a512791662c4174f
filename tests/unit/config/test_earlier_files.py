"""Files shaped like those of the earlier program's minimal topology load, and say what differs."""

from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from tests.support.modes import MODES

from routerd import config
from routerd.model import specs
from routerd.model.claim import Topology
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.rr_set import static_reflectors
from routerd.reconcile.derive import derive
from routerd.reconcile.derive.inputs import Inputs

EARLIER = Path(__file__).parent / "earlier"
FILES = sorted(path.name for path in EARLIER.glob("*.yaml"))

WITHOUT_EFFECT = {
    "spec.exportPolicy",
    "spec.bgp.exportPolicy",
    "spec.importPolicy.nextHopRewrite",
    "spec.bgp.importPolicy.nextHopRewrite",
    "spec.revokeAfterInactive",
}


@pytest.mark.parametrize("name", FILES)
def test_an_earlier_file_loads_and_warns_only_of_fields_without_effect(name: str) -> None:
    warned = {warning.path for warning in config.load(EARLIER / name).warnings}
    assert warned - {"spec.innerPrefix"} <= WITHOUT_EFFECT
    assert "spec.exportPolicy" in warned


def test_two_profiles_on_one_inner_prefix_give_a_warning() -> None:
    warned = config.load(EARLIER / "pve-minimal-rr.yaml").warnings
    assert [warning.resource for warning in warned if warning.path == "spec.innerPrefix"] == [
        "SAMTransportProfile/pve-rr-fou"
    ]


@pytest.mark.parametrize(
    ("name", "mode", "remote"),
    [
        ("pve-minimal-leaf-a.yaml", "ipip", "10.31.0.10"),
        ("pve-minimal-leaf-b.yaml", "fou", "10.30.0.10"),
    ],
)
def test_one_set_serves_leaves_inside_wireguard_and_leaves_outside(name: str, mode: str, remote: str) -> None:
    shared = static_reflectors(config.load(EARLIER / "pve-minimal-rr.yaml").intent)["pve-rrs"]
    intent = config.load(EARLIER / name).intent
    claims = {
        found.name: claim_from_spec(found.name, found.spec)
        for found in intent.of(specs.SAMEnrollmentClaimSpec)
    }
    desired = derive(
        Inputs(
            modes=MODES,
            intent=intent,
            now=datetime(2026, 6, 29, tzinfo=UTC),
            own_claims=claims,
            topologies={"pve-rrs": Topology(rr_set="pve-rrs", reflectors=shared)},
        )
    )
    (tunnel,) = desired.tables[f"tunnels/{mode}"].values.values()
    assert tunnel.remote == IPv4Address(remote)
