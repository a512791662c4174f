"""From the examples' intent and what is known to the desired state of a reflector and a leaf."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import attrs
import pytest
from tests.support.modes import MODES

from routerd import config
from routerd.model.bgp.import_policy import FORBIDDEN, refusal
from routerd.model.claim import AdmittedClaim, Claim, Topology
from routerd.model.fabric import FabricRoute, FabricRouteKey, InstanceFacts, Nic, NicRef, RouteTableRef
from routerd.model.firewall import Accept, MssClamp
from routerd.model.intent import Intent
from routerd.model.names import PublicKey
from routerd.model.route import LearnedRoute, RouteKey, RouteSet
from routerd.model.specs import SAMEnrollmentClaimSpec
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.rr_set import reflectors, topology_document
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.desired import Desired

EXAMPLES = Path(__file__).parents[3] / "examples"
NOW = datetime(2026, 6, 29, 12, tzinfo=UTC)
KEY = PublicKey("q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=")
OWN = PublicKey(base64.b64encode(b"our own".ljust(32, b".")).decode())
LEAF, RR = "aws-leaf", "routerd-fullmesh-rr"


def intent(name: str, key: str = KEY) -> Intent:
    text = (EXAMPLES / name).read_text().replace("REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam", key)
    return config.load_text(text, file=name).intent


def claim(site: str = "aws") -> Claim:
    key = KEY if site == "aws" else base64.b64encode(site.encode().ljust(32, b".")).decode()
    found = intent(f"fullmesh-leaf-{site}.yaml", key).first(SAMEnrollmentClaimSpec)
    assert found is not None
    return claim_from_spec(found.name, found.spec)


def admitted(site: str = "aws", *, ends: datetime | None = NOW + timedelta(hours=1)) -> AdmittedClaim:
    return AdmittedClaim(claim=claim(site), admitted_at=NOW - timedelta(hours=1), expires_at=ends)


def reflector(*claims: AdmittedClaim, **more: object) -> Desired:
    return derive(
        Inputs(
            modes=MODES,
            intent=intent("fullmesh-rr.yaml"),
            now=NOW,
            claims=claims,
            public_keys={"wg-sam": OWN},
            **more,
        )
    )


def topology() -> Topology:
    at_reflector = intent("fullmesh-rr.yaml")
    policy = Inputs(modes=MODES, intent=at_reflector, now=NOW).policy_of(claim())
    assert policy is not None
    document = topology_document(at_reflector, policy.spec)
    assert document is not None
    return Topology(rr_set="fullmesh-rrs", reflectors=reflectors(document))


def leaf(*, fetched: bool = True, **more: object) -> Desired:
    return derive(
        Inputs(modes=MODES,
            intent=intent("fullmesh-leaf-aws.yaml"), now=NOW, own_claims={LEAF: claim()},
            topologies={"fullmesh-rrs": topology()} if fetched else {}, public_keys={"wg-sam": OWN}, **more,
        )
    )  # fmt: skip


def learned(*prefixes: str, complete: bool = True, hops: int = 1) -> RouteSet:
    return RouteSet(
        complete=complete,
        routes=tuple(
            LearnedRoute(
                prefix=IPv4Network(prefix),
                next_hop=IPv4Address("10.255.10.157") + number,
                neighbour=IPv4Address("10.255.10.157") + number,
            )
            for prefix in prefixes
            for number in range(hops)
        ),
    )


def test_a_reflector_without_claims_has_nothing_per_leaf() -> None:
    desired = reflector()
    for table in ("tunnels/ipip", "peers/wireguard", "bgp/sessions", "bgp/import_policies"):
        assert desired.table(table).values == {}
        assert desired.table(table).complete
    assert set(desired.table("tunnels/wireguard").values) == {"wg-sam"}


def test_a_claim_becomes_tunnel_peer_session_and_filter() -> None:
    desired = reflector(admitted())
    (tunnel,) = desired.table("tunnels/ipip").values.values()
    assert (tunnel.local, tunnel.remote, tunnel.mtu) == (
        IPv4Address("10.20.0.1"),
        IPv4Address("10.20.0.11"),
        1400,
    )
    assert tunnel.addresses == (IPv4Interface("10.255.10.157/31"),)
    ((key, peer),) = desired.table("peers/wireguard").values.items()
    assert key.public_key == KEY
    assert peer.allowed_ips == {IPv4Network("10.255.16.11/32"), IPv4Network("10.20.0.11/32")}
    ((neighbour, session),) = desired.table("bgp/sessions").values.items()
    assert neighbour == IPv4Address("10.255.10.156")
    assert (session.passive, session.route_reflector_client, session.leaf) == (True, True, LEAF)
    assert session.timers.hold == 9
    policy = desired.table("bgp/import_policies").values[neighbour]
    assert policy.hosts == {IPv4Network("10.81.10.20/32")}
    assert policy.within == frozenset()


def test_the_mobility_address_never_enters_wireguard() -> None:
    peers = reflector(admitted()).table("peers/wireguard").values
    assert peers
    for peer in peers.values():
        assert not any(network.overlaps(IPv4Network("10.81.10.0/24")) for network in peer.allowed_ips)


@pytest.mark.parametrize("ends", [NOW, NOW - timedelta(seconds=1)])
def test_a_claim_that_ended_is_gone_completely(ends: datetime) -> None:
    assert reflector(admitted(ends=ends)).tables == reflector().tables


def test_a_revoked_claim_is_gone_completely() -> None:
    revoked = attrs.evolve(admitted(), claim=attrs.evolve(claim(), revoked=True))
    assert reflector(revoked).tables == reflector().tables


def test_four_claims_are_four_of_each() -> None:
    desired = reflector(*(admitted(site) for site in ("aws", "azure", "oci", "pve")))
    for table in ("tunnels/ipip", "peers/wireguard", "bgp/sessions", "bgp/import_policies"):
        assert len(desired.table(table).values) == 4


def test_a_shared_slot_degrades_the_newcomer_alone() -> None:
    old = admitted()
    twin = attrs.evolve(old, claim=attrs.evolve(old.claim, name="zz", leaf_id="aws-leaf "), admitted_at=NOW)
    desired = reflector(old, twin)
    assert len(desired.table("tunnels/ipip").values) == 1


def test_the_host_gets_openings_and_settings_for_each_tunnel() -> None:
    desired = reflector(admitted())
    (link,) = desired.table("tunnels/ipip").values
    rules = desired.table("firewall").values
    assert Accept(chain="input", protocol="udp", port=51820) in rules
    assert Accept(chain="input", protocol="tcp", port=179, in_link=link) in rules
    assert Accept(chain="forward", in_link=link) in rules
    assert Accept(chain="forward", out_link=link) in rules
    assert MssClamp(link=link) in rules
    assert Accept(chain="input", protocol="4", source=IPv4Network("10.20.0.11/32")) in rules
    settings = desired.table("sysctls").values
    assert settings == {
        "net.ipv4.ip_forward": "1",
        f"net.ipv4.conf.{link}.rp_filter": "2",
        "net.ipv4.conf.wg-sam.rp_filter": "2",
    }


def test_no_setting_is_taken_back_before_the_devices_that_it_belongs_to_are_known() -> None:
    assert reflector(admitted()).table("sysctls").complete
    starting = Inputs(modes=MODES, intent=intent("fullmesh-rr.yaml"), now=NOW, claims=(admitted(),))
    assert not derive(starting).table("sysctls").complete


def test_a_leaf_that_has_fetched_nothing_waits_and_deletes_nothing() -> None:
    desired = leaf(fetched=False)
    for table in ("tunnels/ipip", "peers/wireguard", "bgp/sessions", "routes"):
        assert not desired.table(table).complete, table
    assert any("has not been fetched yet" in c.message for each in desired.conditions.values() for c in each)


def test_a_leaf_dials_and_announces_its_claim() -> None:
    desired = leaf()
    ((neighbour, session),) = desired.table("bgp/sessions").values.items()
    assert neighbour == IPv4Address("10.255.10.157")
    assert (session.passive, session.source) == (False, IPv4Address("10.255.10.156"))
    assert set(desired.table("bgp/advertisements").values) == {IPv4Network("10.81.10.20/32")}
    policy = desired.table("bgp/import_policies").values[neighbour]
    assert policy.next_hop == "peer-address"
    assert (policy.min_length, policy.max_length) == (32, 32)
    assert IPv4Network("10.20.0.1/32") in {key.prefix for key in desired.table("routes").values}


def test_both_ends_meet() -> None:
    (near,) = leaf().table("tunnels/ipip").values.values()
    (far,) = reflector(admitted()).table("tunnels/ipip").values.values()
    assert (near.local, near.remote) == (far.remote, far.local)
    assert near.addresses[0].network == far.addresses[0].network
    assert near.addresses != far.addresses


def test_learned_routes_go_into_the_kernel_and_the_clouds_table() -> None:
    facts = InstanceFacts(
        provider="aws", instance="i-1", nics=(Nic(ref=NicRef("eni-1"), address=IPv4Address("10.81.10.10")),),
        next_hop="eni-1", route_tables=(RouteTableRef("rtb-1"),),
    )  # fmt: skip
    remote = IPv4Network("10.82.10.20/32")
    desired = leaf(learned=learned(str(remote)), instances={"aws": facts})
    route = desired.table("routes").values[RouteKey(prefix=remote)]
    assert [str(hop.gateway) for hop in route.next_hops] == ["10.255.10.157"]
    key = FabricRouteKey(table=RouteTableRef("rtb-1"), prefix=remote)
    assert desired.table("routes/aws").values == {key: FabricRoute(next_hop="eni-1")}
    assert desired.table("forwarding/aws").values["eni-1"].enabled
    assert desired.table("routes/aws").complete


def test_while_sessions_come_up_routes_are_added_and_never_deleted() -> None:
    desired = leaf(learned=learned("10.82.10.20/32", complete=False))
    assert RouteKey(prefix=IPv4Network("10.82.10.20/32")) in desired.table("routes").values
    assert not desired.table("routes").complete


@pytest.mark.parametrize("prefix", ["10.81.10.20/32", "10.255.3.4/32", "10.255.0.0/16"])
def test_our_own_and_the_transports_prefixes_never_come_in(prefix: str) -> None:
    (policy,) = leaf().table("bgp/import_policies").values.values()
    assert refusal(IPv4Network(prefix), policy, frozenset()) == FORBIDDEN


def test_our_own_prefix_is_not_installed_even_while_somebody_elses_path_is_best() -> None:
    installed = {key.prefix for key in leaf(learned=learned("10.81.10.20/32")).table("routes").values}
    assert IPv4Network("10.81.10.20/32") not in installed


def test_kernel_routes_stand_in_order_and_share_what_is_equal() -> None:
    prefixes = ["10.82.10.100/32", "10.82.10.20/32", "10.82.10.0/32"]
    routes = leaf(learned=learned(*prefixes)).table("routes").values
    ours = [key.prefix for key in routes if str(key.prefix) in prefixes]
    assert [str(prefix) for prefix in ours] == prefixes[::-1]
    assert len({id(routes[key]) for key in routes if key.prefix in ours}) == 1


def test_a_cloud_that_has_not_answered_keeps_what_it_has() -> None:
    desired = leaf(learned=learned("10.82.10.20/32"))
    assert desired.table("routes/aws").values == {}
    assert not desired.table("routes/aws").complete


def test_deriving_twice_gives_the_same() -> None:
    assert reflector(admitted(), admitted("pve")) == reflector(admitted("pve"), admitted())
    assert leaf() == leaf()
