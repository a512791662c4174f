"""Sessions, import filters and learned routes, where the examples leave a choice open."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
import pytest
from tests.support.modes import MODES
from tests.unit.reconcile.leaf_claim import CLAIM, EXAMPLES, KEY, NOW, OWN

from routerd import config
from routerd.model.claim import AdmittedClaim, Claim, ClaimWireGuard
from routerd.model.fabric import FabricRouteKey, InstanceFacts, RouteTableRef
from routerd.model.route import LearnedRoute, RouteKey, RouteSet
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.desired import Desired


def reflector(*claims: Claim, edit: tuple[str, str] = ("", ""), extra: str = "", **more: Any) -> Desired:
    text = (EXAMPLES / "rr.yaml").read_text().replace("REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam", OWN)
    assert edit[0] in text
    text = (text.replace(*edit) if edit[0] else text) + extra
    intent = config.load_text(text, file="rr.yaml").intent
    admitted = tuple(
        AdmittedClaim(claim=claim, admitted_at=NOW - timedelta(minutes=9 - number), expires_at=None)
        for number, claim in enumerate(claims)
    )
    return derive(
        Inputs(modes=MODES, intent=intent, now=NOW, claims=admitted, public_keys={"wg-sam": OWN}, **more)
    )


def learned(*routes: LearnedRoute, complete: bool = True) -> RouteSet:
    return RouteSet(routes=routes, complete=complete)


def path(prefix: str, next_hop: str, **more: Any) -> LearnedRoute:
    return LearnedRoute(
        prefix=IPv4Network(prefix), next_hop=IPv4Address(next_hop), neighbour=IPv4Address(next_hop), **more
    )


def prefixes(desired: Desired) -> set[str]:
    return {str(key.prefix) for key in desired.table("routes").values}


def test_the_speaker_is_there_before_any_leaf() -> None:
    (speaker,) = reflector().table("bgp/speakers").values.values()
    assert (speaker.asn, speaker.router_id, speaker.port) == (64577, IPv4Address("10.255.16.1"), 179)


@pytest.mark.parametrize(
    ("owned", "hosts"),
    [
        (("10.80.1.20/32", "10.80.1.21/32"), {"10.80.1.20/32", "10.80.1.21/32"}),
        (("10.80.1.20",), {"10.80.1.20/32"}),
        (("10.80.1.20/32", "192.0.2.1/32"), {"10.80.1.20/32"}),
        ((), set()),
    ],
)
def test_the_filter_is_exactly_what_is_claimed_and_authorised(
    owned: tuple[str, ...], hosts: set[str]
) -> None:
    desired = reflector(attrs.evolve(CLAIM, owned_addresses=owned))
    (policy,) = desired.table("bgp/import_policies").values.values()
    assert {str(prefix) for prefix in policy.hosts} == hosts
    assert policy.within == frozenset()


def test_what_never_comes_in_is_the_transports_and_our_own() -> None:
    (policy,) = reflector(CLAIM).table("bgp/import_policies").values.values()
    assert {"10.255.0.0/20", "10.255.16.1/32", "10.20.0.1/32"} <= {str(each) for each in policy.forbidden}


def test_every_session_has_a_filter() -> None:
    desired = reflector(CLAIM, attrs.evolve(CLAIM, name="b", leaf_id="b", asn=0))
    sessions, filters = desired.table("bgp/sessions").values, desired.table("bgp/import_policies").values
    assert sessions.keys() == filters.keys()
    assert len(sessions) == 2
    assert {session.peer_asn for session in sessions.values()} == {64577}


def test_a_leaf_that_no_dynamic_peer_accepts_is_named() -> None:
    edit = ("sourcePrefixes: [10.255.0.0/20]", "sourcePrefixes: [10.99.0.0/16]")
    desired = reflector(CLAIM, edit=edit)
    assert desired.table("bgp/sessions").values == {}
    assert desired.table("bgp/import_policies").values == {}
    found = [each for each in desired.conditions["SAMTransportProfile/fabric"] if each.status == "False"]
    assert [each.reason for each in found] == ["NoDynamicPeer"]
    assert "leaf1" in found[0].message
    accepted = [each for found in reflector(CLAIM).conditions.values() for each in found]
    assert accepted
    assert [each for each in accepted if each.status == "False"] == []


@pytest.mark.parametrize(("named", "peers"), [("leaf1", 1), ("leaf2", 0)])
def test_a_reflectors_device_takes_only_the_leaves_that_its_source_names(named: str, peers: int) -> None:
    source = "          - resource: SAMEnrollmentPolicy/leaves\n"
    desired = reflector(CLAIM, edit=(source, f"{source}            nodeRefs: [{named}]\n"))
    assert len(desired.table("peers/wireguard").values) == peers


UNACCEPTED = "sourcePrefixes: [10.99.0.0/16]"
STATIC = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPPeer
      metadata: {{name: static}}
      spec:
        routerRef: BGPRouter/fabric
        peerASN: 64577
        peers: [{peers}]
        importPolicy: {{allowedPrefixes: [10.80.0.0/16]}}
"""


def with_static_peers(
    *addresses: str, sources: str = UNACCEPTED, claims: tuple[Claim, ...] = (CLAIM,)
) -> Any:
    """Return the import filters of a reflector whose file has a static peer at `addresses`."""
    edit = ("sourcePrefixes: [10.255.0.0/20]", sources)
    extra = STATIC.format(peers=", ".join(addresses))
    return reflector(*claims, edit=edit, extra=extra).table("bgp/import_policies").values


@pytest.mark.parametrize("sources", [UNACCEPTED, "sourcePrefixes: [10.255.0.0/16]"])
@pytest.mark.parametrize("which", ["inner", "tunnel", "endpoint", "allowed"])
def test_a_leaf_at_a_static_peers_address_speaks_for_its_claim_alone(which: str, sources: str) -> None:
    (inner,) = reflector(CLAIM).table("bgp/sessions").values
    claim = attrs.evolve(
        CLAIM, wireguard=ClaimWireGuard(public_key=KEY, allowed_ips=("10.20.0.11/32", "10.20.0.64/28"))
    )
    address = {
        "inner": str(inner), "tunnel": "10.255.16.11", "endpoint": "10.20.0.11", "allowed": "10.20.0.70"
    }[which]  # fmt: skip
    policy = with_static_peers(address, sources=sources, claims=(claim,))[IPv4Address(address)]
    assert policy.hosts == {IPv4Network("10.80.1.20/32")}
    assert not policy.within


def test_a_static_peer_that_is_no_leaf_keeps_its_own_filter() -> None:
    policy = with_static_peers("192.0.2.7")[IPv4Address("192.0.2.7")]
    assert (policy.hosts, policy.within) == (frozenset(), {IPv4Network("10.80.0.0/16")})


def test_a_leaf_without_a_tunnel_is_still_held_to_its_claim() -> None:
    # The second of two leaves of one name gets no tunnel, and its WireGuard peer is there all the same.
    other = attrs.evolve(CLAIM, name="other", tunnel_address="10.255.16.12", owned_addresses=())
    policies = with_static_peers("10.255.16.12", claims=(CLAIM, other))
    assert policies[IPv4Address("10.255.16.12")].hosts == frozenset()
    assert not policies[IPv4Address("10.255.16.12")].within


def test_without_a_router_there_is_no_routing_and_nothing_to_wait_for() -> None:
    text = "apiVersion: routerd.net/v1alpha1\nkind: Router\nmetadata: {name: m}\nspec: {resources: []}\n"
    desired = derive(Inputs(modes=MODES, intent=config.load_text(text, file="m.yaml").intent, now=NOW))
    assert desired.table("bgp/speakers").values == {}
    assert desired.table("routes").complete


def test_until_the_routing_has_spoken_no_route_is_deleted() -> None:
    assert not reflector(CLAIM).table("routes").complete
    assert not reflector(CLAIM, learned=learned(complete=False)).table("routes").complete
    assert reflector(CLAIM, learned=learned()).table("routes").complete


def neighbour_of(claim: Claim) -> str:
    (address,) = reflector(claim).table("bgp/sessions").values
    return str(address)


def test_only_best_paths_are_installed() -> None:
    near = neighbour_of(CLAIM)
    desired = reflector(
        CLAIM,
        learned=learned(path("10.80.1.20/32", near), path("10.80.1.20/32", "10.255.0.3", best=False)),
    )
    route = desired.table("routes").values[RouteKey(prefix=IPv4Network("10.80.1.20/32"))]
    assert [str(hop.gateway) for hop in route.next_hops] == [near]


@pytest.mark.parametrize(
    ("prefix", "neighbour", "reason"),
    [
        ("10.80.7.7/32", "", "prefix-not-owned-by-claim"),
        ("10.80.1.20/32", "192.0.2.66", "prefix-outside-import-policy"),
    ],
    ids=["not claimed by its leaf", "of a router without a session"],
)
def test_what_a_speaker_lets_in_against_the_policy_stays_out_of_the_kernel(
    prefix: str, neighbour: str, reason: str
) -> None:
    desired = reflector(CLAIM, learned=learned(path(prefix, neighbour or neighbour_of(CLAIM))))
    assert RouteKey(prefix=IPv4Network(prefix)) not in desired.table("routes").values
    assert [(str(each.prefix), each.reason) for each in desired.rejected] == [(prefix, reason)]


def test_the_general_policy_holds_for_a_protocol_without_neighbours() -> None:
    static = {"source": "static"}
    good, tunnel = path("10.80.7.7/32", "192.0.2.9", **static), path("10.255.3.4/32", "192.0.2.9", **static)
    desired = reflector(CLAIM, learned=learned(good, tunnel), routings=("static",))
    assert RouteKey(prefix=good.prefix) in desired.table("routes").values
    assert RouteKey(prefix=tunnel.prefix) not in desired.table("routes").values
    (refused,) = desired.rejected
    assert (refused.source, refused.reason) == ("static", "forbidden-prefix")
    assert desired.table("static/advertisements").values == desired.table("bgp/advertisements").values


def test_a_next_hop_at_a_tunnels_far_end_goes_through_that_tunnel() -> None:
    ((neighbour, _),) = reflector(CLAIM).table("bgp/sessions").values.items()
    desired = reflector(CLAIM, learned=learned(path("10.80.1.20/32", str(neighbour))))
    (link,) = desired.table("tunnels/ipip").values
    (hop,) = desired.table("routes").values[RouteKey(prefix=IPv4Network("10.80.1.20/32"))].next_hops
    assert hop.link == link


def test_a_learned_route_never_takes_the_place_of_the_way_to_a_tunnels_end() -> None:
    desired = reflector(CLAIM, learned=learned(path("10.20.0.11/32", "10.255.0.1")))
    (hop,) = desired.table("routes").values[RouteKey(prefix=IPv4Network("10.20.0.11/32"))].next_hops
    assert (hop.gateway, hop.link) == (None, "wg-sam")


def test_every_table_of_a_cloud_follows_what_is_learned() -> None:
    cloud = """
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {name: c}
      spec: {provider: aws, mode: auto}
"""
    before = "    - apiVersion: system.routerd.net/v1alpha1\n"
    edit = (before, cloud + before)
    tables = (RouteTableRef("one"), RouteTableRef("two"))
    facts = InstanceFacts(provider="aws", instance="i", nics=(), next_hop="eni", route_tables=tables)

    claim = attrs.evolve(CLAIM, owned_addresses=("10.80.1.20/32", "10.80.2.20/32"))
    near = neighbour_of(claim)

    def routes(*learnt: LearnedRoute) -> Any:
        return reflector(claim, edit=edit, learned=learned(*learnt), instances={"c": facts}).table("routes/c")

    both = routes(path("10.80.1.20/32", near), path("10.80.2.20/32", near))
    assert set(both.values) == {
        FabricRouteKey(table=table, prefix=IPv4Network(prefix))
        for table in tables
        for prefix in ("10.80.1.20/32", "10.80.2.20/32")
    }
    one = routes(path("10.80.1.20/32", near))
    assert {key.prefix for key in one.values} == {IPv4Network("10.80.1.20/32")}
    assert one.complete
    assert not routes().values


def test_an_older_claim_keeps_a_leaf_name_that_two_claims_have() -> None:
    newer = attrs.evolve(CLAIM, name="other", endpoint="10.20.0.99")
    (tunnel,) = reflector(CLAIM, newer).table("tunnels/ipip").values.values()
    assert tunnel.remote == IPv4Address("10.20.0.11")


def session_of(*claims: Claim, **more: Any) -> Any:
    """Return the only session of a reflector."""
    (session,) = reflector(*claims, **more).table("bgp/sessions").values.values()
    return session


@pytest.mark.parametrize(
    ("router_id", "expected"),
    [
        ("10.255.16.11", IPv4Address("10.255.16.11")),
        (" 10.255.16.11/32", IPv4Address("10.255.16.11")),
        ("", None),
    ],
)
def test_a_leafs_session_is_held_to_the_speaker_that_its_claim_names(
    router_id: str, expected: IPv4Address | None
) -> None:
    session = session_of(attrs.evolve(CLAIM, router_id=router_id))
    assert (session.peer_asn, session.peer_router_id) == (64577, expected)
    assert session.whose == "leaf leaf1 (SAMEnrollmentClaim/leaf1)"


def test_a_claim_that_changes_its_router_id_changes_nothing_else_of_the_session() -> None:
    before, after = (session_of(attrs.evolve(CLAIM, router_id=each)) for each in ("10.9.0.1", "10.9.0.2"))
    assert attrs.evolve(before, peer_router_id=after.peer_router_id) == after
    assert before != after


def refusals(desired: Desired) -> list[tuple[str, str, str]]:
    """Return which resource says why that there is no session."""
    return [
        (ref, each.reason, each.message)
        for ref, conditions in desired.conditions.items()
        for each in conditions
        if each.status == "False"
    ]


def test_a_claim_of_an_as_that_the_dynamic_peer_does_not_allow_gets_no_session_and_is_named() -> None:
    desired = reflector(attrs.evolve(CLAIM, asn=64999), attrs.evolve(CLAIM, name="b", leaf_id="b", asn=0))
    (session,) = desired.table("bgp/sessions").values.values()
    assert (session.leaf, session.peer_asn) == ("b", 64577)
    assert desired.table("bgp/import_policies").values.keys() == desired.table("bgp/sessions").values.keys()
    message = (
        "leaf1: SAMEnrollmentClaim/leaf1 has bgp.asn 64999, "
        "and BGPDynamicPeer/leaves allows only peerASN 64577; it gets no session"
    )
    assert refusals(desired) == [("BGPDynamicPeer/leaves", "ASNNotAllowed", message)]


@pytest.mark.parametrize(
    ("which", "held"), [("inner", True), ("tunnel", True), ("endpoint", True), ("behind", False)]
)
def test_a_static_peer_that_is_a_leafs_own_speaker_is_held_to_its_claim(which: str, *, held: bool) -> None:
    (inner,) = reflector(CLAIM).table("bgp/sessions").values
    behind = ClaimWireGuard(public_key=KEY, allowed_ips=("10.20.0.11/32", "10.20.0.64/28"))
    claim = attrs.evolve(CLAIM, wireguard=behind, router_id="10.9.0.1")
    address = {
        "inner": str(inner), "tunnel": "10.255.16.11", "endpoint": "10.20.0.11", "behind": "10.20.0.70"
    }[which]  # fmt: skip
    edit = ("sourcePrefixes: [10.255.0.0/20]", UNACCEPTED)
    desired = reflector(claim, edit=edit, extra=STATIC.format(peers=address))
    session = desired.table("bgp/sessions").values[IPv4Address(address)]
    assert session.peer_router_id == (IPv4Address("10.9.0.1") if held else None)
    assert session.owner == "BGPPeer/static"


@pytest.mark.parametrize("accepted", [True, False])
def test_a_static_peer_of_another_as_than_its_leafs_claim_is_no_session(*, accepted: bool) -> None:
    (inner,) = reflector(CLAIM).table("bgp/sessions").values
    edit = ("sourcePrefixes: [10.255.0.0/20]", UNACCEPTED) if not accepted else ("", "")
    extra = STATIC.format(peers=inner).replace("peerASN: 64577", "peerASN: 64999")
    desired = reflector(CLAIM, edit=edit, extra=extra)
    # A dynamic peer that accepts the leaf gives it the session all the same.
    assert [each.owner for each in desired.table("bgp/sessions").values.values()] == (
        ["BGPDynamicPeer/leaves"] if accepted else []
    )
    assert [(ref, reason) for ref, reason, _ in refusals(desired)] == (
        [] if accepted else [("BGPPeer/static", "ASNNotAllowed")]
    )
