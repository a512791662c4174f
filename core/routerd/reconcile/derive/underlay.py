"""The underlay: WireGuard devices and peers, addresses, static routes."""

from ipaddress import IPv4Address

import attrs

from routerd.errors import PluginError
from routerd.model.addresses import IPInterface, IPNetwork, host_prefix, order
from routerd.model.change import DesiredTable
from routerd.model.claim import Claim, Reflector
from routerd.model.intent import Intent, Named
from routerd.model.names import LinkName, PublicKey
from routerd.model.resource import Condition
from routerd.model.route import ROUTE_METRIC, Address, AddressKey, NextHop, Route, RouteKey
from routerd.model.specs import (
    IPv4RouteSpec,
    IPv4StaticAddressSpec,
    IPv4StaticRouteSpec,
    NodeSpec,
    PeerSource,
    SAMEnrollmentPolicySpec,
    WireGuardInterfaceSpec,
    WireGuardPeerSpec,
)
from routerd.model.specs.leaves import members
from routerd.model.tunnel import Endpoint, Opening, PeerKey, Tunnel, WireGuardDevice, WireGuardPeer
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.overlay import Adjacencies, transport_failed, without_peers


@attrs.frozen(kw_only=True)
class Device:
    """A device of an encrypting transport, and what the packet filter must let in for it.

    `tunnel` has an empty public key as long as the key file has not been read.
    """

    tunnel: Tunnel
    openings: tuple[Opening, ...]


@attrs.frozen(kw_only=True)
class Devices:
    """The devices of encrypting transports; `failed` has the error of each one whose transport failed."""

    items: tuple[Device, ...]
    failed: dict[str, PluginError]


def devices(inputs: Inputs) -> Devices:
    """Return the device of each `WireGuardInterface`, with the openings that its transport needs."""
    items: list[Device] = []
    failed: dict[str, PluginError] = {}
    for link, found in inputs.wireguard_devices().items():
        tunnel = _device(inputs, link, found)
        try:
            items.append(Device(tunnel=tunnel, openings=tuple(inputs.mode(tunnel.mode).openings(tunnel))))
        except PluginError as error:
            failed[found.ref] = error
            items.append(Device(tunnel=tunnel, openings=()))
    return Devices(items=tuple(items), failed=failed)


def tables(inputs: Inputs, devices: Devices) -> dict[str, DesiredTable]:
    """Return the tables of encrypting devices and their peers by mode, and the table of addresses."""
    tunnels = [each.tunnel for each in devices.items]
    made: dict[str, dict[LinkName, Tunnel]] = {
        name: {} for name, mode in inputs.modes.items() if mode.encrypts
    }
    for tunnel in tunnels:
        mine = made.setdefault(tunnel.mode, {})
        if tunnel.wireguard is not None and tunnel.wireguard.public_key:
            mine[tunnel.link] = tunnel
    keys_known = inputs.wireguard_keys_known()
    peers, peers_known = _peers(inputs)
    modes = {tunnel.link: tunnel.mode for tunnel in tunnels}
    addresses = _addresses(inputs)
    tables = {
        "addresses": DesiredTable(
            values=addresses, owners={key: value.owner for key, value in addresses.items()}
        )
    }
    for mode, present in made.items():
        of_mode = {key: peer for key, peer in peers.items() if modes[key.link] == mode}
        tables[f"tunnels/{mode}"] = DesiredTable(
            values=present,
            complete=keys_known,
            owners={link: device.owner for link, device in present.items()},
        )
        tables[f"peers/{mode}"] = DesiredTable(
            values=of_mode,
            complete=peers_known and keys_known,
            owners={key: present[key.link].owner for key in of_mode if key.link in present},
        )
    return tables


def conditions(inputs: Inputs, devices: Devices) -> dict[str, tuple[Condition, ...]]:
    """Return a note for each encrypting device that waits for its transport, a key or peers."""
    result: dict[str, tuple[Condition, ...]] = {}
    for found in inputs.wireguard_devices().values():
        missing = [
            source.resource
            for source in found.spec.peers_from
            if not source.optional and members(source, inputs) is None
        ]
        notes = list(without_peers(found.spec.peers_from))
        if found.ref in devices.failed:
            notes.append(transport_failed(devices.failed[found.ref]))
        elif found.name not in inputs.public_keys:
            notes.append(
                Condition(
                    type="Ready",
                    status="False",
                    reason="PrivateKeyMissing",
                    message=f"the key in {found.spec.private_key_file} is not usable yet",
                )
            )
        elif missing:
            notes.append(
                Condition(
                    type="Ready",
                    status="False",
                    reason="PeersFromPending",
                    message=f"{', '.join(missing)} has not been fetched yet",
                )
            )
        if notes:
            result[found.ref] = tuple(notes)
    return result


def _device(inputs: Inputs, link: LinkName, found: Named[WireGuardInterfaceSpec]) -> Tunnel:
    return Tunnel(
        link=link,
        mode=found.spec.mode,
        owner=found.ref,
        mtu=found.spec.mtu,
        addresses=_addresses_on(inputs, link),
        ttl=0,
        wireguard=WireGuardDevice(
            public_key=inputs.public_keys.get(found.name, PublicKey("")),
            listen_port=found.spec.listen_port,
            private_key_file=found.spec.private_key_file,
        ),
        options=inputs.tunnel_options.get(found.ref),
    )


def _addresses_on(inputs: Inputs, link: LinkName) -> tuple[IPInterface, ...]:
    found = inputs.intent.of(IPv4StaticAddressSpec)
    own = (each.spec.address for each in found if inputs.device(each.spec.interface) == link)
    return tuple(sorted(own, key=order))


def _peers(inputs: Inputs) -> tuple[dict[PeerKey, WireGuardPeer], bool]:
    """Return the peers of every device, and whether every required source of them is known."""
    peers: dict[PeerKey, WireGuardPeer] = {}
    complete = True
    for link, device in inputs.wireguard_devices().items():
        own = (device.spec.self_node_ref or inputs.intent.node).strip()
        for source in device.spec.peers_from:
            found = members(source, inputs)
            if found is None:
                complete = complete and source.optional
                continue
            keepalive = _keepalive(inputs, link, source)
            for member in found:
                peer = None
                if member.claim is not None:
                    peer = _claim_peer(member.claim, keepalive)
                elif member.reflector is not None:
                    peer = _reflector_peer(member.reflector)
                elif member.listed is not None and member.node != own:
                    peer = _node_peer(member.listed)
                # A set of routers may list this one too, and no device takes its own key for a peer.
                if peer is not None and peer[0] != inputs.public_keys.get(device.name):
                    peers.setdefault(PeerKey(link=link, public_key=peer[0]), peer[1])
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


def _keepalive(inputs: Inputs, link: LinkName, source: PeerSource) -> int | None:
    """Return the keepalive of a policy's leaves in seconds; none when their device is another one."""
    policy = inputs.intent.get(source.resource, SAMEnrollmentPolicySpec)
    leaves = policy.spec.wire_guard if policy is not None else None
    return leaves.persistent_keepalive if leaves and inputs.device(leaves.interface) == link else None


def _claim_peer(claim: Claim, keepalive: int | None) -> tuple[PublicKey, WireGuardPeer] | None:
    wireguard = claim.wireguard
    if keepalive is None or wireguard is None or not wireguard.public_key:
        return None
    return wireguard.public_key, WireGuardPeer(
        allowed_ips=claim.routed,
        endpoint=wireguard.udp_endpoint,
        keepalive=wireguard.persistent_keepalive or keepalive,
    )


def _reflector_peer(reflector: Reflector) -> tuple[PublicKey, WireGuardPeer] | None:
    wireguard = reflector.wireguard
    if wireguard is None:
        return None
    return wireguard.public_key, WireGuardPeer(
        allowed_ips=frozenset(wireguard.allowed_ips),
        endpoint=wireguard.endpoint,
        keepalive=wireguard.persistent_keepalive,
    )


def _node_peer(node: NodeSpec) -> tuple[PublicKey, WireGuardPeer] | None:
    wireguard = node.wire_guard
    if wireguard is None:
        return None
    inner = wireguard.transport_endpoint
    return wireguard.public_key, WireGuardPeer(
        allowed_ips=frozenset(wireguard.allowed_ips) | ({host_prefix(inner)} if inner else set()),
        endpoint=parse_endpoint(wireguard.endpoint) if wireguard.endpoint else None,
        keepalive=wireguard.persistent_keepalive,
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
            remote = host_prefix(adjacency.tunnel.remote)
            result[_key(remote, None)] = Route(next_hops=(NextHop(link=link),))
    return result


def route_metrics(intent: Intent) -> frozenset[int]:
    """Return the metrics that routes of ours may have."""
    found = [each.spec.metric for each in intent.of(IPv4StaticRouteSpec)]
    found += [each.spec.metric for each in intent.of(IPv4RouteSpec)]
    return frozenset({ROUTE_METRIC, *(metric for metric in found if metric is not None)})


def _key(prefix: IPNetwork, metric: int | None) -> RouteKey:
    return RouteKey(prefix=prefix, metric=ROUTE_METRIC if metric is None else metric)
