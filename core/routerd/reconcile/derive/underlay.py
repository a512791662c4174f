"""The underlay: WireGuard devices and peers, addresses, static routes."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import attrs

from routerd.model.claim import Claim, Reflector
from routerd.model.condition import Condition
from routerd.model.intent import Named
from routerd.model.names import LinkName
from routerd.model.route import ROUTE_METRIC, Address, AddressKey, NextHop, Route, RouteKey
from routerd.model.specs import (
    IPv4RouteSpec,
    IPv4StaticAddressSpec,
    IPv4StaticRouteSpec,
    NodeSpec,
    PeerSource,
    SAMEnrollmentPolicySpec,
    SAMNodeSetSpec,
    WireGuardInterfaceSpec,
    WireGuardPeerSpec,
)
from routerd.model.specs.devices import wireguard_device
from routerd.model.tunnel import Endpoint, PeerKey, Tunnel, WireGuardDevice, WireGuardPeer
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.overlay import Adjacencies, without_peers
from routerd.reconcile.desired import DesiredTable


def tables(inputs: Inputs) -> dict[str, DesiredTable]:
    """Return the tables of WireGuard devices, their peers, and addresses."""
    devices = {device.link: device for device in _devices(inputs)}
    keys_known = inputs.wireguard_keys_known()
    peers, peers_known = _peers(inputs)
    addresses = _addresses(inputs)
    return {
        "tunnels/wireguard": DesiredTable(
            values=devices,
            complete=keys_known,
            owners={link: device.owner for link, device in devices.items()},
        ),
        "peers/wireguard": DesiredTable(
            values=peers,
            complete=peers_known and keys_known,
            owners={key: devices[key.link].owner for key in peers if key.link in devices},
        ),
        "addresses": DesiredTable(
            values=addresses, owners={key: value.owner for key, value in addresses.items()}
        ),
    }


def conditions(inputs: Inputs) -> dict[str, tuple[Condition, ...]]:
    """Return a note for each WireGuard device that waits for a key or for peers."""
    result: dict[str, tuple[Condition, ...]] = {}
    for found in inputs.wireguard_devices().values():
        missing = [
            source.resource
            for source in found.spec.peers_from
            if not source.optional and _source_peers(inputs, found, source) is None
        ]
        notes = list(without_peers(found.spec.peers_from))
        if found.name not in inputs.public_keys:
            text = f"the key in {found.spec.private_key_file} is not usable yet"
            notes.append(Condition(type="Ready", status="False", reason="PrivateKeyMissing", message=text))
        elif missing:
            text = f"{', '.join(missing)} has not been fetched yet"
            notes.append(Condition(type="Ready", status="False", reason="PeersFromPending", message=text))
        if notes:
            result[found.ref] = tuple(notes)
    return result


def _devices(inputs: Inputs) -> Iterator[Tunnel]:
    for link, found in inputs.wireguard_devices().items():
        public_key = inputs.public_keys.get(found.name)
        if public_key is None:
            continue
        yield Tunnel(
            link=link,
            mode="wireguard",
            owner=found.ref,
            mtu=found.spec.mtu,
            addresses=_addresses_on(inputs, link),
            ttl=0,
            wireguard=WireGuardDevice(
                public_key=public_key,
                listen_port=found.spec.listen_port,
                private_key_file=found.spec.private_key_file,
            ),
        )


def _addresses_on(inputs: Inputs, link: LinkName) -> tuple[IPv4Interface, ...]:
    found = inputs.intent.of(IPv4StaticAddressSpec)
    return tuple(sorted(each.spec.address for each in found if inputs.device(each.spec.interface) == link))


def _peers(inputs: Inputs) -> tuple[dict[PeerKey, WireGuardPeer], bool]:
    peers: dict[PeerKey, WireGuardPeer] = {}
    complete = True
    for link, found in inputs.wireguard_devices().items():
        for source in found.spec.peers_from:
            derived = _source_peers(inputs, found, source)
            if derived is None:
                complete = complete and source.optional
                continue
            for key, peer in derived:
                # A set of routers may contain this one, and a device refuses its own key as a peer.
                if key.public_key == inputs.public_keys.get(found.name):
                    continue
                peers.setdefault(attrs.evolve(key, link=link), peer)
        for static in inputs.intent.of(WireGuardPeerSpec):
            if inputs.device(static.spec.interface) == link:
                peers[PeerKey(link=link, public_key=static.spec.public_key)] = _static_peer(static.spec)
    return peers, complete


def _static_peer(spec: WireGuardPeerSpec) -> WireGuardPeer:
    return WireGuardPeer(
        allowed_ips=frozenset(spec.allowed_ips),
        endpoint=parse_endpoint(spec.endpoint) if spec.endpoint else None,
        keepalive=spec.persistent_keepalive,
        preshared_key_file=spec.preshared_key_file,
    )


def parse_endpoint(text: str) -> Endpoint:
    """Return `address:port` as a value; `ValueError` for any other text."""
    host, _, port = text.strip().rpartition(":")
    return Endpoint(address=IPv4Address(host), port=int(port))


def _source_peers(
    inputs: Inputs, device: Named[WireGuardInterfaceSpec], source: PeerSource
) -> list[tuple[PeerKey, WireGuardPeer]] | None:
    """Return the peers of a source; none before it has answered."""
    kind, _, name = source.resource.rpartition("/")
    link = wireguard_device(device.name, device.spec)
    if kind == "SAMEnrollmentPolicy":
        policy = inputs.intent.get(name, SAMEnrollmentPolicySpec)
        if policy is None:
            return None
        wireguard = policy.spec.wire_guard
        if wireguard is None or inputs.device(wireguard.interface) != link:
            return []
        return [
            peer
            for admitted in inputs.active_claims()
            if inputs.policy_of(admitted.claim) == policy and source.takes(admitted.claim.leaf_id)
            for peer in _claim_peer(link, admitted.claim, wireguard.persistent_keepalive)
        ]
    if kind == "SAMRRSet":
        reflectors = inputs.reflectors(name)
        if reflectors is None:
            return None
        members = (reflector for reflector in reflectors if source.takes(reflector.node))
        return [peer for reflector in members for peer in _reflector_peer(link, reflector)]
    if kind == "SAMNodeSet":
        node_set = inputs.intent.get(name, SAMNodeSetSpec)
        own = (device.spec.self_node_ref or inputs.intent.node).strip()
        if node_set is None:
            return None
        nodes = (node for node in node_set.spec.nodes if node.node_ref.strip() != own)
        return [peer for node in nodes if source.takes(node.node_ref) for peer in _node_peer(link, node)]
    return None


def _claim_peer(link: LinkName, claim: Claim, keepalive: int) -> Iterator[tuple[PeerKey, WireGuardPeer]]:
    if claim.wireguard is None or not claim.wireguard.public_key:
        return
    yield (
        PeerKey(link=link, public_key=claim.wireguard.public_key),
        WireGuardPeer(
            allowed_ips=frozenset({IPv4Network(claim.tunnel_host), *claim.wireguard.allowed}),
            endpoint=claim.wireguard.udp_endpoint,
            keepalive=claim.wireguard.persistent_keepalive or keepalive,
        ),
    )


def _reflector_peer(link: LinkName, reflector: Reflector) -> Iterator[tuple[PeerKey, WireGuardPeer]]:
    if reflector.wireguard is None:
        return
    yield (
        PeerKey(link=link, public_key=reflector.wireguard.public_key),
        WireGuardPeer(
            allowed_ips=frozenset(reflector.wireguard.allowed_ips),
            endpoint=reflector.wireguard.endpoint,
            keepalive=reflector.wireguard.persistent_keepalive,
        ),
    )


def _node_peer(link: LinkName, node: NodeSpec) -> Iterator[tuple[PeerKey, WireGuardPeer]]:
    wireguard = node.wire_guard
    if wireguard is None:
        return
    inner = wireguard.transport_endpoint
    yield (
        PeerKey(link=link, public_key=wireguard.public_key),
        WireGuardPeer(
            allowed_ips=frozenset(wireguard.allowed_ips) | ({IPv4Network(inner)} if inner else set()),
            endpoint=parse_endpoint(wireguard.endpoint) if wireguard.endpoint else None,
            keepalive=wireguard.persistent_keepalive,
        ),
    )


def _addresses(inputs: Inputs) -> dict[AddressKey, Address]:
    """Return the addresses of devices other than our tunnels, which carry their own."""
    tunnels = inputs.wireguard_devices()
    result: dict[AddressKey, Address] = {}
    for found in inputs.intent.of(IPv4StaticAddressSpec):
        link = inputs.device(found.spec.interface)
        if link not in tunnels:
            result[AddressKey(link=link, address=found.spec.address)] = Address(owner=found.ref)
    return result


def static_routes(inputs: Inputs, links: Adjacencies) -> dict[RouteKey, Route]:
    """Return the routes of the file, and those to the far ends of encrypted tunnels."""
    result: dict[RouteKey, Route] = {}
    for found in inputs.intent.of(IPv4StaticRouteSpec):
        spec = found.spec
        device = inputs.device(spec.interface) if spec.interface else None
        result[_key(spec.destination, spec.metric)] = Route(
            next_hops=(NextHop(gateway=spec.via, link=device),)
        )
    for other in inputs.intent.of(IPv4RouteSpec):
        hops = (
            NextHop(
                gateway=other.spec.gateway,
                link=inputs.device(other.spec.device) if other.spec.device else None,
            ),
        )
        result[_key(other.spec.destination, other.spec.metric)] = Route(
            next_hops=() if other.spec.type == "blackhole" else hops,
            kind=other.spec.type,
            source=other.spec.preferred_source,
        )
    devices = inputs.wireguard_devices()
    for adjacency in links:
        # The far end of an encrypted tunnel is a host address behind the WireGuard device: no other
        # route leads there. The far end of a clear one is reached as the host reaches anything.
        underlay = adjacency.profile.spec.underlay_interface
        link = inputs.device(underlay) if underlay else None
        if link in devices and adjacency.tunnel.remote is not None:
            remote = IPv4Network(adjacency.tunnel.remote)
            result[_key(remote, None)] = Route(next_hops=(NextHop(link=link),))
    return result


def _key(prefix: IPv4Network, metric: int | None) -> RouteKey:
    return RouteKey(prefix=prefix, metric=ROUTE_METRIC if metric is None else metric)
