"""The overlay: one tunnel for each pair of this router and a peer."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import attrs

from routerd.model.claim import Claim, Reflector
from routerd.model.condition import Condition
from routerd.model.intent import Named
from routerd.model.names import (
    LinkName,
    Ref,
    conservative_name,
    edge_slot,
    pair_slot,
    slot_addresses,
    tunnel_link_name,
)
from routerd.model.specs import (
    PeerSource,
    SAMTransportProfileSpec,
    TunnelInterfaceSpec,
)
from routerd.model.specs.leaves import self_node
from routerd.model.tunnel import Tunnel, UdpEncapsulation
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.peers import Peer, peers_of
from routerd.reconcile.desired import DesiredTable

TUNNEL_MODES = ("ipip", "fou", "gre", "gue")


@attrs.frozen(kw_only=True)
class Adjacency:
    """This router and one peer: the tunnel between them and the address at its far end.

    Exactly one of `claim` (the peer is an admitted leaf) and `reflector` is set, or neither for a
    peer of a static node set.
    """

    profile: Named[SAMTransportProfileSpec]
    peer: str
    tunnel: Tunnel
    local: IPv4Address
    neighbour: IPv4Address
    claim: Claim | None = None
    reflector: Reflector | None = None


@attrs.frozen(kw_only=True)
class Adjacencies:
    """All adjacencies; `complete` is false while a required source of peers has not answered."""

    items: tuple[Adjacency, ...]
    complete: bool
    conditions: dict[str, tuple[Condition, ...]]

    def __iter__(self) -> Iterator[Adjacency]:
        return iter(self.items)


def adjacencies(inputs: Inputs) -> Adjacencies:
    """Return the adjacency of this router with each peer of each transport profile."""
    items: list[Adjacency] = []
    complete = True
    conditions: dict[str, tuple[Condition, ...]] = {}
    taken: dict[IPv4Network, str] = {}
    for profile in inputs.intent.of(SAMTransportProfileSpec):
        notes: list[Condition] = []
        local = _local_endpoint(inputs, profile)
        if local is None:
            notes.append(_pending("LocalEndpointPending", "the local endpoint is not known yet"))
            complete = False
        peers, missing = peers_of(inputs, profile)
        for source in missing:
            notes.append(_pending("PeersFromPending", f"{source} has not been fetched yet"))
            complete = False
        for peer in peers if local is not None else ():
            adjacency = _adjacency(inputs, profile, peer, local, peers)
            fault = _slot_fault(adjacency, taken)
            if fault is not None:
                # The older adjacency stays. Admission refuses the newer one; a collision that gets past
                # it must degrade only the newcomer.
                notes.append(fault)
                continue
            items.append(adjacency)
        if not notes:
            count = sum(1 for item in items if item.profile.name == profile.name)
            notes.append(
                Condition(type="Ready", status="True", reason="Derived", message=f"{count} tunnels derived")
            )
        conditions[profile.ref] = (*notes, *without_peers(profile.spec.peers_from))
    return Adjacencies(items=tuple(items), complete=complete, conditions=conditions)


def without_peers(sources: Iterable[PeerSource]) -> Iterator[Condition]:
    """Yield a note for each source that never makes a peer; validation passes only optional ones."""
    for source in sources:
        if source.resource.startswith("SAMPeerGroup/"):
            yield Condition(
                type="Note",
                status="True",
                reason="PeerGroupNotExchanged",
                message=f"{source.resource}: no peers; routerd does not exchange peer groups",
            )


def _slot_fault(adjacency: Adjacency, taken: dict[IPv4Network, str]) -> Condition | None:
    """Take the /31 of an adjacency; return a note when it is taken or outside the prefix."""
    # By the /31, not by our address in it: the peer's name decides which of the two is ours.
    slot = adjacency.tunnel.addresses[0].network
    inner = adjacency.profile.spec.inner_prefix
    if not slot.subnet_of(inner):
        return Condition(
            type="Ready",
            status="False",
            reason="InnerPrefixExhausted",
            message=f"{inner} has no /31 left for {adjacency.peer}; use a shorter inner prefix",
        )
    holder = taken.setdefault(slot, f"{adjacency.peer} of {adjacency.profile.name}")
    if holder == f"{adjacency.peer} of {adjacency.profile.name}":
        return None
    return Condition(
        type="Ready",
        status="False",
        reason="SlotCollision",
        message=f"{adjacency.peer} and {holder} share {slot}; use a shorter inner prefix or another leaf ID",
    )


def tables(inputs: Inputs, links: Adjacencies) -> dict[str, DesiredTable]:
    """Return the tunnel tables by mode."""
    by_mode: dict[str, dict[LinkName, Tunnel]] = {mode: {} for mode in TUNNEL_MODES}
    for adjacency in links:
        by_mode[adjacency.tunnel.mode][adjacency.tunnel.link] = adjacency.tunnel
    for tunnel in explicit(inputs):
        by_mode[tunnel.mode][tunnel.link] = tunnel
    return {
        f"tunnels/{mode}": DesiredTable(
            values=values,
            complete=links.complete,
            owners={link: tunnel.owner for link, tunnel in values.items()},
        )
        for mode, values in by_mode.items()
    }


def explicit(inputs: Inputs) -> Iterator[Tunnel]:
    """Yield the tunnels of the file's own `TunnelInterface` resources."""
    for found in inputs.intent.of(TunnelInterfaceSpec):
        tunnel = _explicit(inputs, found)
        if tunnel is not None:
            yield tunnel


def _pending(reason: str, message: str) -> Condition:
    return Condition(type="Ready", status="False", reason=reason, message=message)


def _local_endpoint(inputs: Inputs, profile: Named[SAMTransportProfileSpec]) -> IPv4Address | None:
    if profile.spec.local_endpoint is not None:
        return profile.spec.local_endpoint
    source = profile.spec.local_endpoint_from
    if source is None:
        return None
    facts = inputs.instances.get(Ref.parse(source.resource).name)
    return facts.nics[0].address if facts is not None and facts.nics else None


def _adjacency(
    inputs: Inputs,
    profile: Named[SAMTransportProfileSpec],
    peer: Peer,
    local: IPv4Address | None,
    peers: Sequence[Peer],
) -> Adjacency:
    spec = profile.spec
    own = self_node(inputs.intent, spec)
    if spec.addressing_mode == "pair-stable":
        slot = pair_slot(spec.inner_prefix, own, peer.node)
    else:
        nodes = spec.topology_node_refs or (own, *(each.node for each in peers))
        slot = edge_slot((*nodes, own, peer.node), own, peer.node)
    address, neighbour = slot_addresses(spec.inner_prefix, slot, own, peer.node)
    tunnel = Tunnel(
        link=tunnel_link_name(profile.name, own, peer.node),
        mode=spec.mode,
        owner=f"TunnelInterface/{conservative_name(f'sam-transport-{profile.name}-{own}-{peer.node}')}",
        mtu=0,
        addresses=(address,),
        local=local,
        remote=peer.endpoint,
        key=spec.key,
        encapsulation=_encapsulation(spec.encap_sport, spec.encap_dport),
    )
    mtu = inputs.underlay_mtu(spec.underlay_interface) - inputs.overhead(tunnel)
    return Adjacency(
        profile=profile,
        peer=peer.node,
        tunnel=attrs.evolve(tunnel, mtu=mtu),
        local=address.ip,
        neighbour=neighbour,
        claim=peer.member.claim,
        reflector=peer.member.reflector,
    )


def _encapsulation(sport: int | None, dport: int | None) -> UdpEncapsulation | None:
    return UdpEncapsulation(sport=sport, dport=dport) if sport is not None and dport is not None else None


def _explicit(inputs: Inputs, found: Named[TunnelInterfaceSpec]) -> Tunnel | None:
    spec = found.spec
    if spec.local is None or spec.remote is None:
        return None
    addresses: tuple[IPv4Interface, ...] = (spec.address,) if spec.address else ()
    tunnel = Tunnel(
        link=LinkName(found.name),
        mode=spec.mode,
        owner=found.ref,
        mtu=0,
        addresses=addresses,
        local=spec.local,
        remote=spec.remote,
        ttl=spec.ttl,
        key=spec.key,
        encapsulation=_encapsulation(spec.encap_sport, spec.encap_dport),
    )
    mtu = spec.mtu or inputs.underlay_mtu(spec.underlay_interface) - inputs.overhead(tunnel)
    return attrs.evolve(tunnel, mtu=mtu)
