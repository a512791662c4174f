"""Adjacencies of a static set of nodes: slots that clash, run out, or are not known yet."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest
from tests.support.modes import MODES

from routerd import config
from routerd.model.firewall import Accept, MssClamp
from routerd.model.names import LinkName, pair_slot
from routerd.model.route import RouteKey
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.desired import Desired
from routerd.report.reasons import notes

NOW = datetime(2026, 6, 29, 12, tzinfo=UTC)
INNER = "10.255.1.0/24"

TOP = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: m}
spec:
  resources:
"""


FETCHED = """\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClaim
      metadata: {name: c}
      spec: {policyRef: SAMEnrollmentPolicy/x, rrSetRef: SAMRRSet/far, leafID: m, tunnelAddress: 10.254.0.9}
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClient
      metadata: {name: c}
      spec: {claimRef: SAMEnrollmentClaim/c, bootstrapEndpoints: ["http://192.0.2.1:65432"]}
"""


def node_set(*nodes: str, name: str = "all") -> str:
    listed = ", ".join(
        f"{{nodeRef: '{node}', samEndpoint: '192.0.2.{number}'}}" for number, node in enumerate(nodes, 1)
    )
    return f"""\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMNodeSet
      metadata: {{name: {name}}}
      spec: {{nodes: [{listed}]}}
"""


def profile(
    name: str = "p",
    *,
    mode: str = "ipip",
    addressing: str = "pair-stable",
    inner: str = INNER,
    peers: str = "[{resource: SAMNodeSet/all}]",
    more: str = "",
) -> str:
    return f"""\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMTransportProfile
      metadata: {{name: {name}}}
      spec: {{mode: {mode}, addressingMode: {addressing}, innerPrefix: {inner}, localEndpoint: 192.0.2.200,
             peersFrom: {peers}{more}}}
"""


def derived(*resources: str, **more: Any) -> Desired:
    intent = config.load_text(TOP + "".join(resources), file="test.yaml").intent
    return derive(Inputs(modes=MODES, intent=intent, now=NOW, **more))


def remotes(desired: Desired, mode: str = "ipip") -> list[str]:
    return sorted(str(tunnel.remote) for tunnel in desired.table(f"tunnels/{mode}").values.values())


def reasons(desired: Desired) -> set[str]:
    return {each.reason for conditions in desired.conditions.values() for each in conditions}


def test_each_node_but_ourselves_gets_a_tunnel() -> None:
    desired = derived(node_set("m", "a", "b"), profile())
    assert remotes(desired) == ["192.0.2.2", "192.0.2.3"]
    assert reasons(desired) == {"Derived"}


@pytest.mark.parametrize("names", [("a2", "z18"), ("z18", "a2")])
def test_a_slot_that_two_peers_share_is_the_firsts_whatever_their_names(names: tuple[str, str]) -> None:
    # One name sorts before ours and one after it, so our own address in the /31 differs.
    assert len({pair_slot(IPv4Network(INNER), "m", name) for name in names}) == 1
    desired = derived(node_set("m", *names, "b"), profile())
    assert remotes(desired) == ["192.0.2.2", "192.0.2.4"]
    assert "SlotCollision" in reasons(desired)
    (message,) = [c.message for each in desired.conditions.values() for c in each if c.status == "False"]
    assert names[0] in message
    assert names[1] in message
    assert "10.255.1.144/31" in message


def test_two_profiles_never_give_one_peer_the_same_address_twice() -> None:
    second = profile("q", mode="gre")
    desired = derived(node_set("m", "a"), profile("p"), second)
    assert (remotes(desired), remotes(desired, "gre")) == (["192.0.2.2"], [])
    assert desired.conditions["SAMTransportProfile/q"][0].reason == "SlotCollision"
    assert desired.conditions["SAMTransportProfile/p"][0].reason == "Derived"


def test_a_collision_is_none_when_the_prefixes_differ() -> None:
    desired = derived(node_set("m", "a"), profile("p"), profile("q", mode="gre", inner="10.254.0.0/24"))
    assert (remotes(desired), remotes(desired, "gre")) == (["192.0.2.2"], ["192.0.2.2"])


def test_edges_stay_inside_the_inner_prefix() -> None:
    # Two /31: the pairs (a, b) and (a, m) fit, and (b, m) would lie outside.
    desired = derived(node_set("m", "a", "b"), profile(addressing="edge-index", inner="10.255.1.0/30"))
    assert remotes(desired) == ["192.0.2.2"]
    tunnels = desired.table("tunnels/ipip").values
    assert tunnels
    for tunnel in tunnels.values():
        assert all(address in IPv4Network("10.255.1.0/30") for address in tunnel.addresses)
    assert "InnerPrefixExhausted" in reasons(desired)


def test_edges_are_those_of_the_whole_topology_where_it_is_given() -> None:
    topology = ", topologyNodeRefs: [a, b, c, m]"
    desired = derived(node_set("m", "b"), profile(addressing="edge-index", more=topology))
    (tunnel,) = desired.table("tunnels/ipip").values.values()
    # Pairs: ab 0, ac 1, am 2, bc 3, bm 4.
    assert tunnel.addresses == (IPv4Interface("10.255.1.9/31"),)


def test_only_the_nodes_that_a_source_names_are_taken() -> None:
    peers = "[{resource: SAMNodeSet/all, nodeRefs: [' b']}]"
    assert remotes(derived(node_set("m", "a", "b"), profile(peers=peers))) == ["192.0.2.3"]


def test_blanks_around_names_and_addresses_mean_nothing() -> None:
    desired = derived(node_set(" m ", " a ").replace("192.0.2.2", " 192.0.2.2 "), profile())
    plain = derived(node_set("m", "a"), profile())
    assert desired.table("tunnels/ipip").values == plain.table("tunnels/ipip").values


@pytest.mark.parametrize(("optional", "complete"), [("false", False), ("true", True)])
def test_only_a_source_that_may_be_missing_does_not_keep_things_from_being_deleted(
    optional: str, complete: bool
) -> None:
    peers = f"[{{resource: SAMNodeSet/all}}, {{resource: SAMRRSet/far, optional: {optional}}}]"
    desired = derived(node_set("m", "a"), FETCHED, profile(peers=peers))
    assert remotes(desired) == ["192.0.2.2"]
    assert desired.table("tunnels/ipip").complete is complete
    assert desired.table("firewall").complete is complete
    assert desired.table("sysctls").complete is complete


def test_an_optional_peer_group_makes_no_peers_and_the_status_says_so() -> None:
    peers = "[{resource: SAMNodeSet/all}, {resource: ' SAMPeerGroup/direct', optional: true}]"
    desired = derived(node_set("m", "a"), profile(peers=peers))
    said = "SAMPeerGroup/direct: no peers; routerd does not exchange peer groups"
    assert notes(desired) == [f"SAMTransportProfile/p: {said}"]
    assert remotes(desired) == ["192.0.2.2"]
    assert all(each.status == "True" for found in desired.conditions.values() for each in found)


@pytest.mark.parametrize(
    ("mode", "more", "mtu"),
    [
        ("ipip", "", 1480),
        ("gre", "", 1476),
        ("fou", ", encapSport: 5555, encapDport: 5556", 1472),
        ("gue", ", encapSport: 5555, encapDport: 5556", 1468),
    ],
)
def test_the_mtu_is_what_is_left_of_the_underlays(mode: str, more: str, mtu: int) -> None:
    (tunnel,) = (
        derived(node_set("m", "a"), profile(mode=mode, more=more)).table(f"tunnels/{mode}").values.values()
    )
    assert tunnel.mtu == mtu


@pytest.mark.parametrize(
    ("stated", "device", "mtu"),
    [
        ("", {}, 1480),
        ("", {"eth0": 1400}, 1380),
        # What lies behind a device with larger frames seldom takes them.
        ("", {"eth0": 9001}, 1480),
        (", mtu: 9000", {"eth0": 9001}, 8980),
        (", mtu: 1300", {"eth0": 1400}, 1280),
    ],
)
def test_the_mtu_of_the_device_below_counts_unless_the_file_states_one(
    stated: str, device: dict[str, int], mtu: int
) -> None:
    below = f"""\
    - apiVersion: net.routerd.net/v1alpha1
      kind: Interface
      metadata: {{name: uplink}}
      spec: {{ifname: eth0{stated}}}
"""
    made = profile(more=", underlayInterface: uplink")
    mtus = {LinkName(name): size for name, size in device.items()}
    (tunnel,) = derived(below, node_set("m", "a"), made, link_mtus=mtus).table("tunnels/ipip").values.values()
    assert tunnel.mtu == mtu


@pytest.mark.parametrize(
    ("mode", "more", "mtu"),
    [
        ("ipip", "", 1400),
        ("fou", ", encapSport: 5555, encapDport: 5555", 1392),
        ("gre", "", 1396),
        ("gre", ", key: 0", 1392),
    ],
)
def test_the_mtu_over_wireguard(mode: str, more: str, mtu: int) -> None:
    wireguard = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: WireGuardInterface
      metadata: {name: wg0}
      spec: {privateKeyFile: /etc/wg0.key, listenPort: 51820}
"""
    made = profile(mode=mode, more=f", underlayInterface: wg0{more}")
    (tunnel,) = derived(wireguard, node_set("m", "a"), made).table(f"tunnels/{mode}").values.values()
    assert tunnel.mtu == mtu


def test_an_explicit_tunnel_with_a_key_and_its_mtu() -> None:
    tunnel = """\
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: TunnelInterface
      metadata: {name: t1}
      spec: {mode: gre, key: 7, local: 192.0.2.1, remote: 192.0.2.2, trustedUnderlay: true,
             address: 10.9.0.1/31}
"""
    (made,) = derived(tunnel).table("tunnels/gre").values.values()
    assert (made.link, made.mtu, made.key, made.owner) == ("t1", 1472, 7, "TunnelInterface/t1")


def explicit(name: str, more: str) -> str:
    return f"""\
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: TunnelInterface
      metadata: {{name: {name}}}
      spec: {{local: 192.0.2.1, remote: 192.0.2.2, trustedUnderlay: true, {more}}}
"""


def test_two_tunnels_between_the_same_ends_have_different_keys() -> None:
    desired = derived(explicit("t1", "mode: gre, key: 7"), explicit("t2", "mode: gre, key: 0"))
    made = desired.table("tunnels/gre").values.values()
    assert {(each.link, each.key, each.mtu) for each in made} == {("t1", 7, 1472), ("t2", 0, 1472)}


def test_two_profiles_between_the_same_ends_have_different_keys() -> None:
    desired = derived(
        node_set("m", "a"),
        profile("p", mode="gre"),
        profile("q", mode="gre", inner="10.254.0.0/24", more=", key: 4294967295"),
    )
    made = desired.table("tunnels/gre").values.values()
    assert {(each.key, each.mtu) for each in made} == {(None, 1476), (4294967295, 1472)}


def test_a_host_opens_for_an_explicit_tunnel_what_it_opens_for_any_other() -> None:
    source, link = IPv4Network("192.0.2.2/32"), LinkName("t1")
    for more, protocol, port in (
        ("mode: ipip", "4", 0),
        ("mode: gre, key: 7", "47", 0),
        ("mode: fou, encapSport: 5555, encapDport: 5556", "udp", 5555),
    ):
        desired = derived(explicit("t1", more))
        rules = desired.table("firewall").values
        assert set(rules) == {
            Accept(chain="input", protocol=protocol, port=port, source=source),
            Accept(chain="forward", in_link=link),
            Accept(chain="forward", out_link=link),
            MssClamp(link=link),
        }
        assert set(desired.table("firewall").owners.values()) == {"TunnelInterface/t1"}


def test_an_explicit_tunnel_is_filtered_loosely_and_makes_no_router_of_a_host() -> None:
    desired = derived(explicit("t1", "mode: ipip"))
    assert desired.table("sysctls").values == {"net.ipv4.conf.t1.rp_filter": "2"}


def test_a_setting_of_the_file_has_the_last_word() -> None:
    setting = """\
    - apiVersion: system.routerd.net/v1alpha1
      kind: Sysctl
      metadata: {name: strict}
      spec: {key: net.ipv4.conf.t1.rp_filter, value: "1"}
"""
    desired = derived(explicit("t1", "mode: ipip"), setting)
    assert desired.table("sysctls").values == {"net.ipv4.conf.t1.rp_filter": "1"}


def test_a_clear_tunnel_is_let_in_from_its_peer_alone() -> None:
    ports = ", encapSport: 5555, encapDport: 5556"
    source = IPv4Network("192.0.2.2/32")
    for mode, more, opening in (
        ("ipip", "", Accept(chain="input", protocol="4", source=source)),
        ("gre", "", Accept(chain="input", protocol="47", source=source)),
        ("fou", ports, Accept(chain="input", protocol="udp", port=5555, source=source)),
    ):
        rules = derived(node_set("m", "a"), profile(mode=mode, more=more)).table("firewall").values
        assert opening in rules, mode
        assert not any(
            isinstance(rule, Accept) and rule.chain == "input" and not (rule.protocol or rule.in_link)
            for rule in rules
        )


def test_what_is_not_asked_for_is_not_touched() -> None:
    desired = derived(node_set("m", "a"))
    assert desired.tables
    assert all(not table.values for table in desired.tables.values())


def test_the_far_end_of_a_clear_tunnel_gets_no_route() -> None:
    desired = derived(node_set("m", "a"), profile())
    assert RouteKey(prefix=IPv4Network(IPv4Address("192.0.2.2"))) not in desired.table("routes").values
