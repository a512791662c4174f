"""WireGuard devices and peers: where peers come from, and what a peer may never be."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest
from tests.support.modes import MODES

from routerd import config
from routerd.model.firewall import Accept
from routerd.model.names import LinkName, PublicKey
from routerd.model.specs.rr_set import static_reflectors
from routerd.model.tunnel import Endpoint, PeerKey
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.desired import Desired


def key(name: str) -> PublicKey:
    return PublicKey(base64.b64encode(name.encode().ljust(32, b".")).decode())


OWN, PEER = key("own"), key("peer")

TOP = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: m}
spec:
  resources:
"""
ADDRESS = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: IPv4StaticAddress
      metadata: {name: inner}
      spec: {interface: wg0, address: 10.20.0.1/32}
"""
NODES = f"""\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMNodeSet
      metadata: {{name: all}}
      spec:
        nodes:
          - {{nodeRef: m, wireGuard: {{publicKey: "{OWN}", transportEndpoint: 10.20.0.1}}}}
          - nodeRef: a
            wireGuard: {{publicKey: "{PEER}", endpoint: "192.0.2.2:51820", transportEndpoint: 10.20.0.2,
                        allowedIPs: [10.20.0.2/32, 10.30.0.0/24], persistentKeepalive: 25}}
          - {{nodeRef: plain, samEndpoint: 192.0.2.9}}
"""
MEMBERS = f"""\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMRRSet
      metadata: {{name: rrs}}
      spec:
        enrollmentPolicyRef: SAMEnrollmentPolicy/x
        members:
          - nodeRef: m
            endpoint: 192.0.2.1
            tunnelAddress: 10.255.0.1/32
            wireGuard: {{publicKey: "{OWN}", endpoint: "192.0.2.1:51820", allowedIPs: [10.20.0.1/32]}}
          - nodeRef: a
            endpoint: 192.0.2.2
            tunnelAddress: 10.255.0.2/32
            wireGuard: {{publicKey: "{PEER}", endpoint: "192.0.2.2:51820", allowedIPs: [10.20.0.2/32]}}
"""
WG = LinkName("wg0")


def device(peers: str = "[]", name: str = "wg0", more: str = "") -> str:
    return f"""\
    - apiVersion: net.routerd.net/v1alpha1
      kind: WireGuardInterface
      metadata: {{name: {name}}}
      spec: {{privateKeyFile: /etc/wg0.key, listenPort: 51820, peersFrom: {peers}{more}}}
"""


def static_peer(public_key: str = PEER, allowed: str = "10.9.0.0/24", interface: str = "wg0") -> str:
    return f"""\
    - apiVersion: net.routerd.net/v1alpha1
      kind: WireGuardPeer
      metadata: {{name: static}}
      spec: {{interface: {interface}, publicKey: "{public_key}", allowedIPs: [{allowed}]}}
"""


def derived(*resources: str, known: bool = True, **more: Any) -> Desired:
    intent = config.load_text(TOP + "".join(resources), file="test.yaml").intent
    return derive(
        Inputs(
            modes=MODES,
            intent=intent,
            now=datetime(2026, 6, 29, 12, tzinfo=UTC),
            public_keys={"wg0": OWN} if known else {},
            static_reflectors=static_reflectors(intent),
            **more,
        )
    )


def peers(desired: Desired) -> Any:
    return desired.table("peers/wireguard").values


def test_a_device_carries_its_addresses_and_they_are_on_no_other_table() -> None:
    desired = derived(device(), ADDRESS)
    (tunnel,) = desired.table("tunnels/wireguard").values.values()
    assert tunnel.addresses == (IPv4Interface("10.20.0.1/32"),)
    assert (tunnel.wireguard.public_key, tunnel.wireguard.listen_port) == (OWN, 51820)
    assert desired.table("addresses").values == {}
    assert Accept(chain="input", protocol="udp", port=51820) in desired.table("firewall").values


def test_a_device_without_its_key_waits_and_nothing_is_deleted() -> None:
    desired = derived(device(), static_peer(), known=False)
    assert desired.table("tunnels/wireguard").values == {}
    assert not desired.table("tunnels/wireguard").complete
    assert not desired.table("peers/wireguard").complete
    assert [each.reason for each in desired.conditions["WireGuardInterface/wg0"]] == ["PrivateKeyMissing"]


def test_the_nodes_of_a_set_are_peers_but_ourselves_and_those_without_a_key() -> None:
    desired = derived(device("[{resource: SAMNodeSet/all}]"), NODES)
    ((found, peer),) = peers(desired).items()
    assert found == PeerKey(link=WG, public_key=PEER)
    assert peer.allowed_ips == {IPv4Network("10.20.0.2/32"), IPv4Network("10.30.0.0/24")}
    assert peer.endpoint == Endpoint(address=IPv4Address("192.0.2.2"), port=51820)
    assert peer.keepalive == 25
    assert desired.table("peers/wireguard").complete
    assert "WireGuardInterface/wg0" not in desired.conditions


def test_a_node_is_reached_at_its_transport_address_whether_or_not_it_says_so_twice() -> None:
    nodes = NODES.replace("allowedIPs: [10.20.0.2/32, 10.30.0.0/24], ", "")
    (peer,) = peers(derived(device("[{resource: SAMNodeSet/all}]"), nodes)).values()
    assert peer.allowed_ips == {IPv4Network("10.20.0.2/32")}


def test_we_are_no_peer_of_ourselves() -> None:
    # The kernel drops a peer with the device's own key without a word, and it would be missing for ever.
    desired = derived(device("[{resource: SAMRRSet/rrs}]"), MEMBERS)
    assert [found.public_key for found in peers(desired)] == [PEER]


@pytest.mark.parametrize(
    ("source", "resource"), [("SAMNodeSet/all", NODES), ("SAMRRSet/rrs", MEMBERS)], ids=["nodes", "members"]
)
@pytest.mark.parametrize(("names", "found"), [("a", [PEER]), ("m, b", []), ("' a '", [PEER])])
def test_only_the_nodes_that_a_source_names_are_peers(
    source: str, resource: str, names: str, found: list[PublicKey]
) -> None:
    desired = derived(device(f"[{{resource: {source}, nodeRefs: [{names}]}}]"), resource)
    assert [each.public_key for each in peers(desired)] == found
    assert desired.table("peers/wireguard").complete


def test_what_the_file_says_of_a_peer_comes_before_what_is_derived() -> None:
    desired = derived(device("[{resource: SAMRRSet/rrs}]"), MEMBERS, static_peer())
    (peer,) = peers(desired).values()
    assert peer.allowed_ips == {IPv4Network("10.9.0.0/24")}


def test_a_static_peer_is_on_its_own_device_alone() -> None:
    desired = derived(device(), device(name="wg1"), static_peer(interface="wg1"))
    assert [found.link for found in peers(desired)] == ["wg1"]


def test_a_device_says_that_a_peer_group_makes_no_peers() -> None:
    desired = derived(device("[{resource: SAMPeerGroup/x, optional: true}]"), static_peer())
    assert [found.public_key for found in peers(desired)] == [PEER]
    (note,) = desired.conditions["WireGuardInterface/wg0"]
    assert (note.type, note.status, note.reason) == ("Note", "True", "PeerGroupNotExchanged")


@pytest.mark.parametrize(("optional", "complete"), [("false", False), ("true", True)])
def test_a_set_that_is_not_fetched_keeps_the_peers_unless_it_is_optional(
    optional: str, complete: bool
) -> None:
    claim = """\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClaim
      metadata: {name: c}
      spec: {policyRef: SAMEnrollmentPolicy/x, rrSetRef: SAMRRSet/far, leafID: m, tunnelAddress: 10.255.0.9}
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClient
      metadata: {name: c}
      spec: {claimRef: SAMEnrollmentClaim/c, bootstrapEndpoints: ["http://192.0.2.1:65432"]}
"""
    desired = derived(device(f"[{{resource: SAMRRSet/far, optional: {optional}}}]"), claim, static_peer())
    assert [found.public_key for found in peers(desired)] == [PEER]
    assert desired.table("peers/wireguard").complete is complete
    waits = desired.conditions.get("WireGuardInterface/wg0", ())
    assert bool(waits) is not complete
