"""Tunnels of transports under any name: their tables, openings and options, and a transport that fails."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Any

import pytest
from tests.support.modes import MODES, PlainMode

from routerd import config
from routerd.errors import PluginError
from routerd.model.firewall import Accept
from routerd.model.names import PublicKey
from routerd.model.tunnel import Opening, Tunnel
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.derive.inputs import Mode
from routerd.reconcile.desired import Desired

KEY = PublicKey(base64.b64encode(b"k" * 32).decode())
PEER = PublicKey(base64.b64encode(b"p" * 32).decode())

FILE = f"""\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: m}}
spec:
  resources:
    - apiVersion: net.routerd.net/v1alpha1
      kind: WireGuardInterface
      metadata: {{name: inside}}
      spec: {{mode: armour, privateKeyFile: /etc/inside.key, listenPort: 7000}}
    - apiVersion: net.routerd.net/v1alpha1
      kind: WireGuardPeer
      metadata: {{name: static}}
      spec: {{interface: inside, publicKey: "{PEER}", allowedIPs: [10.9.0.0/24]}}
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: TunnelInterface
      metadata: {{name: t1}}
      spec: {{mode: odd, local: 192.0.2.1, remote: 192.0.2.2, trustedUnderlay: true}}
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: TunnelInterface
      metadata: {{name: t2}}
      spec: {{mode: ipip, local: 192.0.2.1, remote: 192.0.2.3, trustedUnderlay: true}}
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMNodeSet
      metadata: {{name: all}}
      spec: {{nodes: [{{nodeRef: m, samEndpoint: 192.0.2.1}}, {{nodeRef: a, samEndpoint: 192.0.2.4}}]}}
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMTransportProfile
      metadata: {{name: fabric}}
      spec: {{mode: odd, innerPrefix: 10.255.0.0/20, localEndpoint: 192.0.2.1,
             peersFrom: [{{resource: SAMNodeSet/all}}]}}
"""


class OddMode(PlainMode):
    """A stranger's mode: two openings, and an overhead that its options decide."""

    def overhead(self, tunnel: Tunnel) -> int:
        return 60 if tunnel.options == "long" else 50

    def openings(self, tunnel: Tunnel) -> list[Opening]:
        return [Opening(protocol="udp", port=4789), Opening(protocol="50")]


class Broken(PlainMode):
    """Fails at one of the two questions."""

    fails = "overhead"

    def overhead(self, tunnel: Tunnel) -> int:
        if self.fails == "overhead":
            raise PluginError("transport odd (plugin odd): overhead failed: no VNI")
        return 50

    def openings(self, tunnel: Tunnel) -> list[Opening]:
        raise PluginError("transport odd (plugin odd): openings failed: no port")


class BrokenAtOpenings(Broken):
    fails = "openings"


STRANGERS: Mapping[str, Mode] = {**MODES, "odd": OddMode(), "armour": PlainMode(encrypts=True)}


def derived(modes: Mapping[str, Mode] = STRANGERS, **more: Any) -> Desired:
    intent = config.load_text(FILE, file="test.yaml").intent
    facts = {"public_keys": {"inside": KEY}, **more}
    return derive(Inputs(modes=modes, intent=intent, now=datetime(2026, 6, 29, 12, tzinfo=UTC), **facts))


def openings(desired: Desired) -> set[tuple[str, int, str]]:
    rules = desired.table("firewall").values
    return {
        (rule.protocol, rule.port, str(rule.source))
        for rule in rules
        if isinstance(rule, Accept) and rule.chain == "input" and rule.in_link is None
    }


def test_tunnels_of_any_name_have_the_table_of_their_mode() -> None:
    desired = derived()
    assert {tunnel.owner for tunnel in desired.table("tunnels/odd").values.values()} == {
        "TunnelInterface/t1",
        "TunnelInterface/sam-transport-fabric-m-a",
    }
    assert set(desired.table("tunnels/ipip").values) == {"t2"}
    assert set(desired.table("tunnels/armour").values) == {"inside"}
    assert {key.public_key for key in desired.table("peers/armour").values} == {PEER}
    assert desired.table("tunnels/wireguard").values == {}
    assert desired.table("peers/wireguard").values == {}


def test_a_transport_without_tunnels_has_an_empty_table() -> None:
    assert "tunnels/gre" in derived().tables
    assert derived().table("tunnels/gre").complete


def test_openings_are_for_the_far_end_and_those_of_a_device_for_every_source() -> None:
    assert openings(derived()) == {
        ("udp", 4789, "192.0.2.2/32"),
        ("50", 0, "192.0.2.2/32"),
        ("udp", 4789, "192.0.2.4/32"),
        ("50", 0, "192.0.2.4/32"),
        ("4", 0, "192.0.2.3/32"),
        ("udp", 7000, "None"),
    }


def test_a_device_is_open_before_its_key_is_known() -> None:
    desired = derived(public_keys={})
    assert ("udp", 7000, "None") in openings(desired)
    assert desired.table("tunnels/armour").values == {}
    assert not desired.table("tunnels/armour").complete


def test_options_reach_the_tunnel_and_its_overhead() -> None:
    desired = derived(tunnel_options={"TunnelInterface/t1": "long", "WireGuardInterface/inside": "thick"})
    tunnels = desired.table("tunnels/odd").values
    assert (tunnels["t1"].options, tunnels["t1"].mtu) == ("long", 1440)
    (other,) = (tunnel for link, tunnel in tunnels.items() if link != "t1")
    assert (other.options, other.mtu) == (None, 1450)
    assert desired.table("tunnels/armour").values["inside"].options == "thick"


@pytest.mark.parametrize("broken", [Broken(), BrokenAtOpenings()])
def test_a_transport_that_fails_costs_only_its_own_tunnels(broken: Broken) -> None:
    desired = derived({**STRANGERS, "odd": broken})
    assert desired.table("tunnels/odd").values == {}
    assert not desired.table("tunnels/odd").complete
    assert not desired.table("firewall").complete
    for table in ("tunnels/ipip", "tunnels/armour", "routes"):
        assert desired.table(table).complete
    assert set(desired.table("tunnels/ipip").values) == {"t2"}
    for resource in ("TunnelInterface/t1", "SAMTransportProfile/fabric"):
        (note,) = desired.conditions[resource]
        assert (note.type, note.status, note.reason) == ("Ready", "False", "TransportFailed")
        assert note.message.startswith(f"transport odd (plugin odd): {broken.fails} failed: no ")


def test_a_device_whose_transport_fails_stays_as_it_is() -> None:
    desired = derived({**STRANGERS, "armour": BrokenAtOpenings(encrypts=True)})
    assert set(desired.table("tunnels/armour").values) == {"inside"}
    assert not desired.table("firewall").complete
    (note,) = desired.conditions["WireGuardInterface/inside"]
    assert note.reason == "TransportFailed"


def test_a_mode_without_a_plugin_is_a_note_and_not_a_crash() -> None:
    desired = derived(MODES)
    (note,) = desired.conditions["TunnelInterface/t1"]
    assert note.message == "transport odd: no enabled plugin provides it; add its plugin"
    assert set(desired.table("tunnels/ipip").values) == {"t2"}


def test_the_far_end_of_an_opening_is_a_host() -> None:
    sources = {
        rule.source
        for rule in derived().table("firewall").values
        if isinstance(rule, Accept) and rule.chain == "input" and rule.in_link is None
    }
    networks = [source for source in sources if source is not None]
    assert networks
    assert all(isinstance(each, IPv4Network) and each.prefixlen == 32 for each in networks)
