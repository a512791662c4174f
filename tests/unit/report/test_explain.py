"""Why an address goes where it goes: each kind of outcome, its mark, its sentence, its verdict."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import attrs
import pytest
from tests.unit.report.explain_world import (
    DEFAULT,
    LEAF,
    NIC,
    NOW,
    OWNER,
    REMOTE,
    RR,
    SITE,
    TABLE,
    as_wanted,
    on_leaf,
    on_reflector,
    path,
    refused,
    with_live,
    with_report,
)

from routerd.clouds.gate import Gate, Mode
from routerd.control.wire import to_document
from routerd.errors import NotOwnedError, TransientError
from routerd.kernel.routes.lookup import RouteAnswer
from routerd.model.change import Change, DesiredTable
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding
from routerd.model.names import LinkName
from routerd.model.report.explanation import Explanation, Step
from routerd.model.resource import Condition
from routerd.model.route import NextHop, RouteKey
from routerd.model.session import SessionState
from routerd.model.subsystem import Flow
from routerd.reconcile.retry import Pending
from routerd.report.explain import Facts, explain
from routerd.store import open_store
from routerd.testing.clock import FakeClock

PREFIX = IPv4Network(f"{REMOTE}/32")
CLOUD_ROUTE = FabricRouteKey(table=TABLE, prefix=PREFIX)
FAILED = Pending(failures=2, error=TransientError("the kernel is busy"), next_attempt=0.0)


def states(found: Explanation) -> dict[str, str]:
    """Return the mark of each step; of several with one title the worst."""
    worst = {"note": 0, "ok": 1, "bad": 2}
    marks: dict[str, str] = {}
    for step in found.steps:
        marks[step.title] = max(step.state, marks.get(step.title, "note"), key=worst.__getitem__)
    return marks


def bad(found: Explanation) -> list[Step]:
    return [step for step in found.steps if step.state == "bad"]


# --- reachable ---------------------------------------------------------------------------------------


def test_on_a_leaf_the_chain_goes_from_bgp_to_the_cloud_route() -> None:
    found = explain(on_leaf(paths=[path(RR)]))
    titles = ["session", "bgp", "decision", "route", "kernel", "tunnel", "wireguard", "cloud aws"]
    assert states(found) == {"ours": "note", **dict.fromkeys(titles, "ok")}
    assert found.reachable
    assert found.verdict == (
        "10.83.10.20 goes to 10.255.10.157 (routerd-fullmesh-rr) by samt68656c8fbcf; everything is in place"
    )


def test_on_a_reflector_the_chain_begins_with_the_claim() -> None:
    found = explain(on_reflector(paths=[path(LEAF)], owners=(OWNER,)))
    assert bad(found) == []
    claim = next(step for step in found.steps if step.title == "claim")
    assert claim.text == (
        "SAMEnrollmentClaim/oci-leaf of leaf oci-leaf (SAMEnrollmentPolicy/p) is Approved "
        "until 2026-06-29T13:00:00Z"
    )
    assert found.reachable
    assert found.verdict.endswith(
        "goes to 10.255.15.196 (oci-leaf) by samt2ec87f6b62e; everything is in place"
    )


def test_the_longest_learned_prefix_counts() -> None:
    found = explain(on_leaf(paths=[path(RR, "10.83.0.0/16", next_hop=IPv4Address("10.255.0.9")), path(RR)]))
    assert [step.text for step in found.steps if step.title == "decision"] == [
        "10.83.10.20/32 goes to 10.255.10.157 (routerd-fullmesh-rr)"
    ]
    wide = explain(on_leaf("10.83.7.7", paths=[path(RR, "10.83.0.0/16"), path(RR)]))
    assert any(step.text.startswith("10.83.0.0/16 goes to") for step in wide.steps)


def test_equal_paths_are_all_named() -> None:
    other = IPv4Address("10.255.3.1")
    found = explain(on_leaf(paths=[path(RR), path(other)]))
    (decision,) = [step.text for step in found.steps if step.title == "decision"]
    assert decision.endswith("10.255.3.1 and 10.255.10.157 (routerd-fullmesh-rr), 2 equal paths")


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        ({"local_preference": 50}, "because 100 is the higher local preference"),
        ({"as_path": (64512,)}, "because its AS path is longer"),
        ({"stale": True}, "because it is stale: its session is lost"),
        ({}, "by the tie-break of RFC 4271, 9.1.2.2"),
    ],
)
def test_of_a_path_that_is_not_best_it_is_said_why(worse: dict[str, object], why: str) -> None:
    other = path(IPv4Address("10.255.3.1"), best=False, **worse)
    found = explain(on_leaf(paths=[path(RR), other]))
    assert any(step.state == "note" and step.text.endswith(f"not best, {why}") for step in found.steps)


def test_ipv6_that_others_announce_is_no_obstacle() -> None:
    six, net = IPv6Address("2001:db8::1"), IPv6Network("2001:db8:7::/64")
    strangers = [path(RR), attrs.evolve(path(RR), prefix=net), attrs.evolve(path(six), prefix=net)]
    lost = [attrs.evolve(refused(RR, "x"), prefix=net), attrs.evolve(refused(six, "x"), prefix=net)]
    assert explain(on_leaf(paths=strangers, rejected=lost)) == explain(on_leaf(paths=[path(RR)]))


def test_a_path_with_an_ipv6_next_hop_is_named_with_its_reason() -> None:
    six = IPv6Address("2001:db8::1")
    found = explain(on_leaf(paths=[path(RR, next_hop=six)]))
    assert not found.reachable
    assert "address-family-unsupported (routerd does not support IPv6 routes yet)" in " ".join(
        step.text for step in found.steps
    )


def test_neighbours_of_both_families_are_sorted_in_words() -> None:
    six, other = IPv6Address("2001:db8::1"), IPv4Address("10.255.3.1")
    found = explain(on_leaf(paths=[path(six), path(RR), path(other)]))
    (decision,) = [step.text for step in found.steps if step.title == "decision"]
    assert decision.endswith(
        "10.255.3.1 and 10.255.10.157 (routerd-fullmesh-rr) and 2001:db8::1, 3 equal paths"
    )


def test_a_path_that_is_not_used_is_not_reachable() -> None:
    found = explain(on_leaf("10.83.10.20", paths=[path(RR, best=False)]))
    assert not found.reachable
    assert states(found)["decision"] == "bad"
    assert "no path to 10.83.10.20/32 is best" in found.verdict


# --- claims ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "verdict"),
    [
        ("Revoked", "leaf oci-leaf was revoked at 2026-06-29T11:00:00Z"),
        ("Expired", "the claim oci-leaf of leaf oci-leaf ended at 2026-06-29T13:00:00Z and was not renewed"),
        ("Pending", "the claim oci-leaf of leaf oci-leaf waits for approval"),
        ("Rejected", "the claim oci-leaf of leaf oci-leaf is rejected"),
    ],
)
def test_a_claim_that_does_not_hold_is_to_blame(phase: str, verdict: str) -> None:
    owner = attrs.evolve(OWNER, phase=phase, decided_at="2026-06-29T11:00:00Z", message="lost")
    found = explain(on_reflector(owners=(owner,), admitted=False))
    claim = next(step for step in found.steps if step.title == "claim")
    assert claim.state == "bad"
    assert f"is {phase}" in claim.text
    assert claim.text.endswith(": lost")
    assert not found.reachable
    assert found.verdict == f"10.83.10.20 is not reachable: {verdict}"


def test_of_several_claims_the_one_that_holds_counts() -> None:
    old = attrs.evolve(OWNER, name="old", leaf="old", phase="Revoked")
    found = explain(on_reflector(paths=[path(LEAF)], owners=(old, OWNER)))
    assert states(found)["claim"] == "ok"


def test_an_address_that_nobody_claims_is_said_to_be_free() -> None:
    found = explain(on_reflector("10.83.10.99"))
    texts = [step.text for step in found.steps if step.title == "claim"]
    assert texts == ["no leaf claims it; SAMEnrollmentPolicy/fullmesh-leaves would allow it"]
    assert (found.reachable, found.verdict) == (False, "10.83.10.99 is not reachable: no leaf claims it")


def test_a_claim_that_is_set_aside_may_be_the_owner() -> None:
    found = explain(on_reflector("10.83.10.99", set_aside=("odd",)))
    assert "the addresses of odd (quarantined) are not known" in found.steps[1].text


def test_what_no_policy_lets_in_is_refused_as_such() -> None:
    found = explain(on_reflector("10.255.3.3"))
    assert "outside the prefixes of every policy" in found.steps[1].text
    assert "no policy allows it" in found.verdict


def test_an_approved_leaf_that_is_silent_is_to_blame() -> None:
    found = explain(on_reflector(owners=(OWNER,)))
    assert states(found) == {"ours": "note", "claim": "ok", "session": "ok", "bgp": "bad", "kernel": "note"}
    assert found.verdict.endswith("leaf oci-leaf has it and does not announce it")


def test_an_approved_leaf_without_a_session_is_to_blame() -> None:
    found = explain(on_reflector(owners=(OWNER,), admitted=False))
    assert found.verdict.endswith("no session is wanted with leaf oci-leaf")


# --- BGP ---------------------------------------------------------------------------------------------


def test_an_address_that_nobody_announces_is_not_reachable() -> None:
    found = explain(on_leaf("10.83.10.99"))
    assert states(found) == {"ours": "note", "session": "ok", "bgp": "bad", "kernel": "note"}
    assert "our import policy would accept it" in found.steps[2].text
    assert (found.reachable, found.verdict) == (
        False,
        "10.83.10.99 is not reachable: no neighbour announces it",
    )


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("10.255.3.3", "prefixes in 10.255.0.0/20 are always refused"),
        ("10.83.10.0/24", "only prefixes of length 32 are accepted"),
    ],
)
def test_what_our_import_policy_would_refuse_is_said(target: str, why: str) -> None:
    found = explain(on_leaf(target))
    assert f"would refuse it: {why}" in found.verdict


def test_a_route_that_was_refused_comes_with_its_reason() -> None:
    refusal = refused(LEAF, "prefix-not-owned-by-claim")
    found = explain(on_reflector("10.83.10.20", rejected=[refusal], owners=(OWNER,)))
    assert states(found)["bgp"] == "bad"
    assert "10.255.15.196 (oci-leaf) announces 10.83.10.20/32, and the policy refuses it" in found.verdict
    assert "prefix-not-owned-by-claim" in found.verdict


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            "missing-required-community",
            "required-community (it must carry 1:1 and 1:2, and it must not carry 1:3",
        ),
        ("forbidden-community", "it must not carry 1:3 or 65535:65281)"),
        ("max-prefixes-exceeded", "refuses it: max-prefixes-exceeded"),
    ],
)
def test_a_refusal_by_communities_says_which_are_needed(reason: str, words: str) -> None:
    facts = on_reflector("10.83.10.20", rejected=[refused(LEAF, reason)], owners=(OWNER,))
    table = facts.desired.table("bgp/import_policies")
    asks = attrs.evolve(
        table.values[LEAF],
        hosts=frozenset({IPv4Network("10.83.10.20/32")}),
        required_communities={"1:2", "1:1"},
        forbidden_communities={"no-export", "1:3"},
    )
    table = attrs.evolve(table, values={**table.values, LEAF: asks})
    desired = attrs.evolve(facts.desired, tables={**facts.desired.tables, "bgp/import_policies": table})
    verdict = explain(attrs.evolve(facts, desired=desired)).verdict
    assert words in verdict
    assert ("must carry" in verdict) is reason.endswith("-community")


def test_a_refusal_of_one_does_not_matter_where_another_is_accepted() -> None:
    other = refused(IPv4Address("10.255.10.156"), "prefix-not-owned-by-claim")
    found = explain(on_reflector(paths=[path(LEAF)], rejected=[other], owners=(OWNER,)))
    assert bad(found) == []
    assert any("(the policy accepts only 10.81.10.20/32)" in step.text for step in found.steps)


@pytest.mark.parametrize("facts", [on_leaf(), on_reflector(owners=(OWNER,))])
def test_a_session_that_is_down_is_to_blame(facts: Facts) -> None:
    down = tuple(
        SessionState(neighbour=each, state="active", last_error="cannot connect") for each in facts.sessions
    )
    found = explain(with_live(facts, sessions=down))
    assert states(found)["session"] == "bad"
    assert found.verdict.endswith("is down, active (cannot connect)")
    assert not found.reachable


def test_a_stale_path_still_carries_and_is_named() -> None:
    facts = on_reflector(paths=[path(LEAF, stale=True)], owners=(OWNER,))
    found = explain(with_live(facts, sessions=(SessionState(neighbour=LEAF, state="active"),)))
    assert {step.title for step in bad(found)} == {"session", "bgp"}
    assert found.reachable
    assert "goes to 10.255.15.196 (oci-leaf)" in found.verdict
    assert found.verdict.endswith("but the session with 10.255.15.196 (oci-leaf) is down, active")
    assert explain(facts).verdict.endswith(
        "the path is stale: its session is lost, and routerd keeps it for a while"
    )


def test_a_speaker_that_has_not_spoken_is_named() -> None:
    facts = on_leaf(waiting={"routing/bgp": "starting"})
    silent = attrs.evolve(facts, inputs=attrs.evolve(facts.inputs, learned=None))
    assert explain(silent).verdict.endswith("the BGP speaker has not answered yet: starting")


def test_the_parts_of_a_prefix_are_named() -> None:
    found = explain(on_leaf("10.83.10.0/24", paths=[path(RR)]))
    assert any(step.text == "parts of it are announced: 10.83.10.20/32" for step in found.steps)


# --- kernel ------------------------------------------------------------------------------------------


def test_a_route_that_is_pending_comes_with_its_error() -> None:
    facts = with_report(on_leaf(paths=[path(RR)]), "routes", pending={RouteKey(prefix=PREFIX): FAILED})
    found = explain(attrs.evolve(facts, answer=DEFAULT))
    assert (states(found)["route"], states(found)["kernel"]) == ("bad", "bad")
    assert not found.reachable
    assert found.verdict.endswith("to 10.83.10.20/32 is pending, failed 2 times: the kernel is busy")


def test_a_table_that_cannot_be_read_is_named() -> None:
    facts = with_report(on_leaf(paths=[path(RR)]), "routes", readable=False, error="no permission")
    assert explain(facts).verdict.endswith("cannot be read: no permission")


ELSEWHERE = (NextHop(gateway=IPv4Address("10.81.10.1"), link=LinkName("ens5")),)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"protocol": 4, "metric": 0, "next_hops": ELSEWHERE}, "a foreign route with a lower metric"),
        ({"protocol": 4, "next_hops": ELSEWHERE}, "a foreign route has the place of ours"),
        ({"prefix": IPv4Network("10.83.10.20/31")}, "our more specific route is not there"),
        ({"table": 77}, "a policy rule selects another table"),
        ({"next_hops": ELSEWHERE}, "its next hops are not the wanted ones"),
        ({"kind": "blackhole", "prefix": None}, "a foreign route comes before ours"),
        ({"kind": "none", "prefix": None}, "our route is not there"),
    ],
)
def test_a_kernel_that_does_otherwise_is_flagged(changes: dict[str, object], why: str) -> None:
    facts = on_leaf(paths=[path(RR)])
    found = explain(attrs.evolve(facts, answer=attrs.evolve(as_wanted(facts), **changes)))
    assert [step.title for step in bad(found)] == ["kernel"]
    assert why in found.verdict
    assert not found.reachable


def test_a_more_specific_foreign_route_is_flagged() -> None:
    bounds = "10.83.10.0/24, 10.99.9.0/24]\n            allowedPrefixLengthMin: "
    shorter = (f"{bounds}32", f"{bounds}16".replace("10.83.10.0/24", "10.83.0.0/16"))
    facts = on_leaf(REMOTE, paths=[path(RR, "10.83.0.0/16")], edit=shorter)
    answer = attrs.evolve(as_wanted(facts), prefix=PREFIX, protocol=4, next_hops=ELSEWHERE)
    assert "a more specific route than ours wins" in explain(attrs.evolve(facts, answer=answer)).verdict


def test_a_kernel_that_does_not_answer_is_no_proof_of_anything() -> None:
    found = explain(on_leaf(paths=[path(RR)], answer=None, answer_error="netlink: busy"))
    assert found.reachable
    assert any(step == Step("kernel", "note", "no answer: netlink: busy") for step in found.steps)


# --- tunnel and WireGuard ----------------------------------------------------------------------------


def test_a_tunnel_that_is_down_is_to_blame() -> None:
    facts = on_leaf(paths=[path(RR)])
    (tunnel,) = facts.live.tunnels
    found = explain(with_live(facts, tunnels=(attrs.evolve(tunnel, up=False),)))
    assert found.verdict.endswith("the tunnel samt68656c8fbcf to routerd-fullmesh-rr is down")
    missing = with_live(facts, tunnels=())
    pending = with_report(missing, "tunnels/ipip", pending={tunnel.link: FAILED})
    assert explain(pending).verdict.endswith("is not there, pending, failed 2 times: the kernel is busy")


@pytest.mark.parametrize(("age", "reachable"), [(179, True), (180, False), (None, False)])
def test_a_peer_that_is_silent_for_three_minutes_is_dead(age: int | None, reachable: bool) -> None:
    facts = on_leaf(paths=[path(RR)])
    (peer,) = facts.live.peers
    last = 0 if age is None else int(NOW.timestamp()) - age
    found = explain(with_live(facts, peers=(attrs.evolve(peer, last_handshake=last),)))
    assert found.reachable is reachable
    assert states(found)["wireguard"] == ("ok" if reachable else "bad")
    assert ("no handshake yet" in found.verdict) is (age is None)


def test_what_the_providers_do_not_say_is_not_known() -> None:
    facts = with_live(on_leaf(paths=[path(RR)]), tunnels=(), peers=(), errors=("ipip: no answer",))
    found = explain(facts)
    assert (states(found)["tunnel"], states(found)["wireguard"], found.reachable) == ("note", "note", True)


# --- cloud -------------------------------------------------------------------------------------------


def test_a_cloud_route_that_is_foreign_is_named() -> None:
    foreign = Pending(failures=1, error=NotOwnedError("rtb-1 has one to igw-1"), next_attempt=0.0)
    facts = with_report(on_leaf(paths=[path(RR)]), "routes/aws", pending={CLOUD_ROUTE: foreign})
    found = explain(facts)
    assert states(found)["cloud aws"] == "bad"
    assert not found.reachable
    assert "goes to 10.255.10.157 (routerd-fullmesh-rr) by samt68656c8fbcf, but not for the other hosts" in (
        found.verdict
    )
    assert found.verdict.endswith("in rtb-1 is pending, failed once: rtb-1 has one to igw-1")


def test_a_cloud_route_that_covers_more_addresses_is_found() -> None:
    aggregate = FabricRouteKey(table=TABLE, prefix=PREFIX.supernet(new_prefix=30))
    facts = on_leaf(paths=[path(RR)])
    table = DesiredTable(values={aggregate: FabricRoute(next_hop=NIC)})
    facts = attrs.evolve(
        facts, desired=attrs.evolve(facts.desired, tables={**facts.desired.tables, "routes/aws": table})
    )
    failed = Pending(failures=1, error=TransientError("the table is full"), next_attempt=0.0)
    found = explain(with_report(facts, "routes/aws", pending={aggregate: failed}))
    assert f"the route to {aggregate.prefix} in {TABLE} is pending" in found.verdict


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("plan", "planned and not made (mode plan)"),
        ("approve", "waiting for approval: routerd actions approve"),
    ],
)
def test_a_cloud_route_that_is_not_let_through_is_not_there(mode: Mode, words: str, tmp_path: Path) -> None:
    planned = Change(key=CLOUD_ROUTE, before=None, after=FabricRoute(next_hop=NIC))
    store = open_store(tmp_path / "routerd.db", clock=FakeClock())
    gate = Gate(store.journal, scope="aws", table="routes", mode=mode)
    facts = with_report(on_leaf(paths=[path(RR)]), "routes/aws", planned=(planned,), in_sync=0)
    found = explain(attrs.evolve(facts, gates={"routes/aws": gate}))
    assert f"in rtb-1 is {words}" in found.verdict
    assert not found.reachable
    store.close()


def test_a_forwarding_switch_that_is_off_is_to_blame() -> None:
    planned = Change(key=NIC, before=Forwarding(enabled=False), after=Forwarding(enabled=True))
    facts = with_report(on_leaf(paths=[path(RR)]), "forwarding/aws", planned=(planned,), in_sync=0)
    assert "the forwarding of eni-1 (10.81.10.10): planned" in explain(facts).verdict


def test_a_route_that_is_for_the_sites_active_router_is_no_fault() -> None:
    facts = on_leaf(paths=[path(RR)])
    note = Condition(type="Note", status="True", reason="Standby", message="standby: router x is active")
    conditions = {**facts.desired.conditions, "CloudProviderProfile/aws": (note,)}
    found = explain(attrs.evolve(facts, desired=attrs.evolve(facts.desired, conditions=conditions)))
    assert found.reachable
    texts = [step.text for step in found.steps if step.title == "cloud aws"]
    assert "standby: router x is active" in texts
    assert f"route to {REMOTE}/32 in rtb-1: only the active router changes it" in texts
    active = attrs.evolve(note, reason="Active", message="active in placement group x")
    conditions = {**facts.desired.conditions, "CloudProviderProfile/aws": (active,)}
    found = explain(attrs.evolve(facts, desired=attrs.evolve(facts.desired, conditions=conditions)))
    texts = [step.text for step in found.steps if step.title == "cloud aws"]
    assert "active in placement group x" in texts
    assert any("next hop eni-1: in sync" in text for text in texts)


def test_a_cloud_that_has_not_answered_is_named() -> None:
    facts = on_leaf(paths=[path(RR)], waiting={"fabric/aws": "no credentials"})
    unknown = attrs.evolve(facts, inputs=attrs.evolve(facts.inputs, instances={}))
    found = explain(unknown)
    assert any(step.text == "it has not answered yet: no credentials" for step in bad(found))
    assert not found.reachable


# --- ours, and nobody's ------------------------------------------------------------------------------


def test_an_address_of_the_router_itself_goes_nowhere() -> None:
    local = RouteAnswer(
        kind="local",
        prefix=IPv4Network("10.81.10.10/32"),
        next_hops=(NextHop(link=LinkName("ens5")),),
        protocol=2,
    )
    found = explain(on_leaf("10.81.10.10", answer=local))
    assert (found.reachable, found.verdict) == (True, "10.81.10.10 is this router's own address, on ens5")


def test_an_address_of_our_own_claim_is_on_this_site_and_announced() -> None:
    found = explain(on_leaf("10.81.10.20", answer=SITE))
    assert bad(found) == []
    assert found.verdict == (
        "10.81.10.20 is on this site, by ens5, and announced to 10.255.10.157 (routerd-fullmesh-rr); "
        "everything is in place"
    )


def test_an_address_of_our_own_claim_that_nobody_hears_of_is_not_reachable() -> None:
    facts = on_leaf("10.81.10.20", answer=SITE)
    for found in (
        explain(with_live(facts, sessions=())),
        explain(attrs.evolve(facts, memberships=("SAMEnrollmentClient/fullmesh: revoked",))),
        explain(with_report(facts, "bgp/advertisements", pending={IPv4Network("10.81.10.20/32"): FAILED})),
        explain(attrs.evolve(facts, answer=RouteAnswer(kind="none"))),
    ):
        assert len(bad(found)) == 1, found
        assert not found.reachable
        assert "is on this site" in found.verdict


def test_an_address_of_our_own_claim_that_leads_into_a_tunnel_is_flagged() -> None:
    away = as_wanted(on_leaf(paths=[path(RR)]))
    assert "off this site" in explain(on_leaf("10.81.10.20", answer=away)).verdict


def test_a_neighbour_of_the_router_is_on_its_network() -> None:
    found = explain(on_leaf("10.81.10.77", answer=SITE))
    assert (found.reachable, states(found)["ours"]) == (True, "ok")
    assert (
        "on 10.81.10.0/24, the network of ens5; routerd does not know whether a host there has it"
        in found.verdict
    )


def test_what_a_leaf_claims_is_not_taken_for_a_neighbour() -> None:
    owner = attrs.evolve(OWNER, phase="Revoked")
    answer = attrs.evolve(SITE, prefix=IPv4Network("10.83.10.0/24"))
    assert not explain(on_reflector(owners=(owner,), admitted=False, answer=answer)).reachable


def test_the_far_end_of_a_tunnel_is_as_good_as_the_tunnel() -> None:
    ours = NextHop(link=LinkName("samt68656c8fbcf"))
    answer = attrs.evolve(SITE, prefix=IPv4Network("10.255.10.156/31"), next_hops=(ours,))
    facts = on_leaf(str(RR), answer=answer)
    assert explain(facts).reachable
    assert not explain(with_live(facts, tunnels=())).reachable


def test_a_route_of_the_transport_is_ours() -> None:
    answer = RouteAnswer(
        kind="unicast",
        prefix=IPv4Network("10.20.0.1/32"),
        next_hops=(NextHop(link=LinkName("wg-sam")),),
        protocol=147,
        metric=200,
        table=254,
    )
    facts = on_leaf("10.20.0.1", answer=answer)
    assert states(explain(facts)) == {"ours": "ok", "kernel": "ok", "wireguard": "ok"}
    assert not explain(with_live(facts, peers=())).reachable


def test_what_is_not_of_the_fabric_is_the_hosts_business() -> None:
    found = explain(on_leaf("198.51.100.200"))
    assert found.reachable
    assert (
        "is not an address of the fabric; the host's own routes lead to 10.81.10.1 by ens5" in found.verdict
    )
    cut_off = explain(on_leaf("198.51.100.200", answer=RouteAnswer(kind="none")))
    assert (cut_off.reachable, cut_off.verdict) == (
        False,
        "198.51.100.200 is not reachable: the kernel has no route to it",
    )


def test_the_document_has_what_the_command_prints() -> None:
    document = to_document(explain(on_leaf("198.51.100.200")))
    assert list(document) == ["apiVersion", "kind", "address", "reachable", "verdict", "steps"]
    assert document["steps"][0] == {  # type: ignore[index,call-overload]  # JSON
        "title": "ours",
        "state": "note",
        "text": "not an address of this router, its site or the fabric",
    }


# --- flows --------------------------------------------------------------------------------------------


def test_a_flow_that_a_subsystem_drops_does_not_get_through() -> None:
    flow = Flow(source=IPv4Network("10.81.10.20/32"), destination=IPv4Network(f"{REMOTE}/32"), protocol="tcp")
    good = attrs.evolve(on_leaf(paths=[path(RR)]), flow=flow, flow_steps=(Step("policy", "ok", "rule 1"),))
    found = explain(good)
    assert found.reachable
    assert found.source == "10.81.10.20"
    assert found.steps[-1].text == "rule 1"
    dropped = attrs.evolve(good, flow_steps=(Step("policy", "bad", "rule 2", "rule 2 of office drops it"),))
    found = explain(dropped)
    assert not found.reachable
    assert found.verdict == f"10.81.10.20 to {REMOTE} by tcp does not get through: rule 2 of office drops it"
    # The path comes first: what is not reachable at all is not the policy's fault.
    nowhere = attrs.evolve(on_leaf(), flow=flow, flow_steps=dropped.flow_steps)
    assert "rule 2" not in explain(nowhere).verdict
