"""One of several leaves of a site: what it announces, what it must hear, and what the reflector lets in."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import attrs
import pytest
from tests.support.modes import MODES
from tests.unit.reconcile.leaf_claim import CLAIM, EXAMPLES, KEY, NOW, OWN
from tests.unit.reconcile.test_derive import LEAF, claim, topology

from routerd import config
from routerd.model.claim import AdmittedClaim, ClaimWireGuard, Placement
from routerd.model.fabric import InstanceFacts, RouteTableRef
from routerd.model.names import PublicKey
from routerd.model.route import LearnedRoute, RouteKey, RouteSet
from routerd.model.session import Advertisement, ImportPolicy
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.desired import Desired

OWNED = IPv4Network("10.81.10.20/32")
REFLECTOR = IPv4Address("10.255.10.157")
FACTS = InstanceFacts(
    provider="aws", instance="i", nics=(), next_hop="eni-1", route_tables=(RouteTableRef("rtb-1"),)
)
PLACED = Placement(group="aws", priority=20)
ALLOWED = "allowedPrefixes: [10.81.10.0/24, 10.82.10.0/24, 10.83.10.0/24, 10.99.9.0/24]"


def leaf(placement: Placement | None, *routes: LearnedRoute, allowed: str = ALLOWED) -> Desired:
    text = (EXAMPLES / "fullmesh-leaf-aws.yaml").read_text()
    assert ALLOWED in text
    intent = config.load_text(text.replace(ALLOWED, allowed), file="leaf.yaml").intent
    return derive(
        Inputs(
            modes=MODES,
            intent=intent,
            now=NOW,
            own_claims={LEAF: attrs.evolve(claim(), placement=placement)},
            topologies={"fullmesh-rrs": topology()},
            public_keys={"wg-sam": OWN},
            learned=RouteSet(complete=True, routes=routes),
            instances={"aws": FACTS},
        )
    )


def advertised(desired: Desired) -> Advertisement:
    found = desired.table("bgp/advertisements").values[OWNED]
    assert isinstance(found, Advertisement)
    return found


def imports(desired: Desired) -> list[ImportPolicy]:
    return list(desired.table("bgp/import_policies").values.values())


def test_the_priority_is_the_med_of_what_is_announced() -> None:
    assert advertised(leaf(PLACED)).med == 20
    assert advertised(leaf(None)).med is None


@pytest.mark.parametrize("allowed", [ALLOWED, "allowedPrefixes: [10.83.0.0/16]"])
def test_the_other_leaves_paths_come_in_whatever_else_may(allowed: str) -> None:
    """Else this leaf would never hear of them, and think that it is alone."""
    policies = imports(leaf(PLACED, allowed=allowed))
    assert policies
    for policy in policies:
        assert OWNED in policy.hosts
        assert not any(OWNED.overlaps(each) for each in policy.forbidden)


def test_without_placement_nobody_else_may_announce_our_addresses() -> None:
    policies = imports(leaf(None))
    assert policies
    for policy in policies:
        assert OWNED in policy.forbidden
        assert policy.hosts == frozenset()


def test_the_other_leaves_path_is_no_route_of_ours() -> None:
    """Neither in the kernel nor in the cloud: our clients are on this side."""
    theirs = LearnedRoute(
        prefix=OWNED, next_hop=REFLECTOR, neighbour=REFLECTOR, med=10, originator=IPv4Address("10.9.9.9")
    )
    far = LearnedRoute(prefix=IPv4Network("10.83.10.20/32"), next_hop=REFLECTOR, neighbour=REFLECTOR)
    desired = leaf(PLACED, theirs, far)
    learned = {key.prefix for key in desired.table("routes").values if isinstance(key, RouteKey)}
    assert far.prefix in learned
    assert OWNED not in learned
    assert {key.prefix for key in desired.table("routes/aws").values} == {far.prefix}


def test_the_reflector_lets_both_leaves_announce_what_they_share() -> None:
    first = attrs.evolve(CLAIM, placement=Placement(group="site", priority=10))
    second = attrs.evolve(
        CLAIM,
        name="leaf2",
        leaf_id="leaf2",
        tunnel_address="10.255.16.12/32",
        endpoint="10.20.0.12",
        placement=Placement(group="site", priority=20),
        wireguard=ClaimWireGuard(public_key=PublicKey(KEY[::-1]), allowed_ips=("10.20.0.12/32",)),
    )
    text = (EXAMPLES / "rr.yaml").read_text().replace("REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam", OWN)
    intent = config.load_text(text, file="rr.yaml").intent
    claims = tuple(
        AdmittedClaim(claim=each, admitted_at=NOW - timedelta(minutes=1), expires_at=None)
        for each in (first, second)
    )
    desired = derive(Inputs(modes=MODES, intent=intent, now=NOW, claims=claims, public_keys={"wg-sam": OWN}))
    assert [policy.hosts for policy in imports(desired)] == [first.owned, first.owned]
