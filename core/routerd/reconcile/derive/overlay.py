"""The overlay: one tunnel for each pair of this router and a peer."""

from collections.abc import Iterable, Iterator, Sequence

import attrs

from routerd.errors import PluginError
from routerd.model.addresses import IPAddress, IPInterface, IPNetwork, inside
from routerd.model.change import DesiredTable
from routerd.model.claim import Claim, Reflector
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
from routerd.model.resource import Condition
from routerd.model.specs import (
    PeerSource,
    SAMTransportProfileSpec,
    TunnelInterfaceSpec,
)
from routerd.model.specs.leaves import self_node
from routerd.model.tunnel import Opening, Tunnel, UdpEncapsulation
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.peers import Peer, peers_of


@attrs.frozen(kw_only=True)
class Adjacency:
    """This router and one peer: the tunnel between them and the address at its far end.

    Exactly one of `claim` (the peer is an admitted leaf) and `reflector` is set, or neither for a
    peer of a static node set.
    """

    profile: Named[SAMTransportProfileSpec]
    peer: str
    tunnel: Tunnel
    openings: tuple[Opening, ...]
    local: IPAddress
    neighbour: IPAddress
    claim: Claim | None = None
    reflector: Reflector | None = None


@attrs.frozen(kw_only=True)
class Explicit:
    """A tunnel of the file's own `TunnelInterface`, and what the packet filter must let in for it."""

    tunnel: Tunnel
    openings: tuple[Opening, ...]


@attrs.frozen(kw_only=True)
class Adjacencies:
    """All adjacencies, and the explicit tunnels.

    `complete` is false while a required source of peers has not answered. `failed` are the modes whose
    transport gave no answer about a tunnel, so that this tunnel is missing here.
    """

    items: tuple[Adjacency, ...]
    explicit: tuple[Explicit, ...]
    complete: bool
    failed: frozenset[str]
    conditions: dict[str, tuple[Condition, ...]]

    def __iter__(self) -> Iterator[Adjacency]:
        return iter(self.items)


def adjacencies(inputs: Inputs) -> Adjacencies:
    """Return the adjacency of this router with each peer of each transport profile."""
    items: list[Adjacency] = []
    complete = True
    conditions: dict[str, tuple[Condition, ...]] = {}
    failed: set[str] = set()
    taken: dict[IPNetwork, str] = {}
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
            try:
                adjacency = _adjacency(inputs, profile, peer, local, peers)
            except PluginError as error:
                # Another peer of the profile would meet the same failure.
                failed.add(profile.spec.mode)
                notes.append(transport_failed(error))
                break
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
    explicit: list[Explicit] = []
    for found in inputs.intent.of(TunnelInterfaceSpec):
        try:
            explicit += _explicit(inputs, found)
        except PluginError as error:
            failed.add(found.spec.mode)
            conditions[found.ref] = (transport_failed(error),)
    return Adjacencies(
        items=tuple(items),
        explicit=tuple(explicit),
        complete=complete,
        failed=frozenset(failed),
        conditions=conditions,
    )


def transport_failed(error: PluginError) -> Condition:
    """Return the note of a resource whose transport gives no answer about its tunnel."""
    return _pending("TransportFailed", str(error))


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


def _slot_fault(adjacency: Adjacency, taken: dict[IPNetwork, str]) -> Condition | None:
    """Take the /31 of an adjacency; return a note when it is taken or outside the prefix."""
    # By the /31, not by our address in it: the peer's name decides which of the two is ours.
    slot = adjacency.tunnel.addresses[0].network
    inner = adjacency.profile.spec.inner_prefix
    if not inside(slot, inner):
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
    """Return the tunnel tables of the modes that do not encrypt."""
    values: dict[str, dict[LinkName, Tunnel]] = {
        name: {} for name, mode in inputs.modes.items() if not mode.encrypts
    }
    for each in (*links, *links.explicit):
        values[each.tunnel.mode][each.tunnel.link] = each.tunnel
    return {
        f"tunnels/{name}": DesiredTable(
            values=tunnels,
            complete=links.complete and name not in links.failed,
            owners={link: tunnel.owner for link, tunnel in tunnels.items()},
        )
        for name, tunnels in values.items()
    }


def _pending(reason: str, message: str) -> Condition:
    return Condition(type="Ready", status="False", reason=reason, message=message)


def _local_endpoint(inputs: Inputs, profile: Named[SAMTransportProfileSpec]) -> IPAddress | None:
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
    local: IPAddress | None,
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
        options=inputs.tunnel_options.get(profile.ref),
    )
    mode = inputs.mode(spec.mode)
    mtu = inputs.underlay_mtu(spec.underlay_interface) - mode.overhead(tunnel)
    return Adjacency(
        profile=profile,
        peer=peer.node,
        tunnel=attrs.evolve(tunnel, mtu=mtu),
        openings=tuple(mode.openings(tunnel)),
        local=address.ip,
        neighbour=neighbour,
        claim=peer.member.claim,
        reflector=peer.member.reflector,
    )


def _encapsulation(sport: int | None, dport: int | None) -> UdpEncapsulation | None:
    return UdpEncapsulation(sport=sport, dport=dport) if sport is not None and dport is not None else None


def _explicit(inputs: Inputs, found: Named[TunnelInterfaceSpec]) -> Iterator[Explicit]:
    spec = found.spec
    if spec.local is None or spec.remote is None:
        return
    addresses: tuple[IPInterface, ...] = (spec.address,) if spec.address else ()
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
        options=inputs.tunnel_options.get(found.ref),
    )
    mode = inputs.mode(spec.mode)
    mtu = spec.mtu or inputs.underlay_mtu(spec.underlay_interface) - mode.overhead(tunnel)
    yield Explicit(tunnel=attrs.evolve(tunnel, mtu=mtu), openings=tuple(mode.openings(tunnel)))
