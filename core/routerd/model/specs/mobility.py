"""Kinds of the group `mobility`: transport profiles, sets of nodes, pools."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Literal

import attrs

from routerd.model.names import PublicKey
from routerd.model.specs.common import (
    PeerSource,
    PolicySpec,
    SessionsSpec,
    StatusValueSource,
    TimerProfile,
)
from routerd.model.specs.families import AddressField, NetworkField

NO_ENCRYPTION = ("", "none")
"""The values of `encryption` for tunnels in clear text."""


@attrs.frozen(kw_only=True)
class BFDProfileSpec:
    """BFD for generated peers, as written in upstream files."""

    enabled: bool = False
    interface: str | None = None
    profile: Literal["fast", "normal", "slow"] = "fast"
    min_rx: int | None = None
    min_tx: int | None = None
    detect_multiplier: int | None = None


@attrs.frozen(kw_only=True)
class ProfileBGPSpec(SessionsSpec):
    """BGP over the tunnels of a transport profile."""

    generate_peers: bool = True
    timers_preset: TimerProfile = attrs.field()
    direct_local_preference: int = 200
    bfd: BFDProfileSpec | None = None

    @timers_preset.default
    def _preset_of_timers(self) -> TimerProfile:
        # `timers.profile` and `timersPreset` are two spellings of one thing.
        return self.timers.profile if self.timers is not None else "default"


@attrs.frozen(kw_only=True)
class SAMTransportProfileSpec:
    """Tunnels to a set of peers: one /31 of `inner_prefix` for each pair of nodes.

    `mode` is the kind of the transport that makes the tunnels, and `options` follow its schema.
    `encryption` is the kind of the encrypting transport around them.
    """

    mode: str
    inner_prefix: NetworkField
    self_node_ref: str | None = None
    encryption: str = "none"
    addressing_mode: Literal["", "edge-index", "pair-stable"] = "edge-index"
    underlay_interface: str | None = None
    local_endpoint: AddressField | None = None
    local_endpoint_from: StatusValueSource | None = None
    key: int | None = None
    encap_sport: int | None = None
    encap_dport: int | None = None
    publish_peer_group: bool = False
    peers_from: tuple[PeerSource, ...] = ()
    topology_node_refs: tuple[str, ...] = ()
    bgp: ProfileBGPSpec | None = None
    options: Mapping[str, object] = attrs.field(factory=dict)

    @property
    def encrypted(self) -> bool:
        """Say whether tunnels run inside an encrypting transport."""
        return self.encryption not in NO_ENCRYPTION


@attrs.frozen(kw_only=True)
class NodeWireGuardSpec:
    """WireGuard identity of a node (later dialect)."""

    public_key: PublicKey
    endpoint: str | None = None
    transport_endpoint: AddressField | None = None
    allowed_ips: tuple[NetworkField, ...] = attrs.field(default=(), metadata={"key": "allowedIPs"})
    persistent_keepalive: int = 0


MAX_PRIORITY = 1_000_000
"""The largest placement priority, equal to that of upstream programs."""


@attrs.frozen(kw_only=True)
class PlacementSpec:
    """Priority of a node, or of a leaf's claim, in its group; the lower number wins."""

    group: str = ""
    priority: int = 0


@attrs.frozen(kw_only=True)
class MaintenanceSpec:
    """The maintenance state of a node."""

    drain: bool = False


@attrs.frozen(kw_only=True)
class NodeSpec:
    """One node of a set."""

    node_ref: str
    site: str = ""
    role: Literal["", "onprem", "cloud"] = ""
    route_reflector: bool = False
    event_endpoint: str | None = None
    sam_endpoint: str | None = None
    sam_endpoint_from: StatusValueSource | None = None
    mac_addresses: tuple[str, ...] = ()
    wire_guard: NodeWireGuardSpec | None = None
    placement: PlacementSpec | None = None
    maintenance: MaintenanceSpec | None = None
    max_secondary_ips: int | None = attrs.field(default=None, metadata={"key": "maxSecondaryIPs"})


@attrs.frozen(kw_only=True)
class SAMNodeSetSpec:
    """A list of nodes."""

    nodes: tuple[NodeSpec, ...]


@attrs.frozen(kw_only=True)
class MemberWireGuardSpec:
    """WireGuard identity of a route reflector (seed dialect)."""

    public_key: PublicKey
    endpoint: str
    allowed_ips: tuple[NetworkField, ...] = attrs.field(default=(), metadata={"key": "allowedIPs"})
    persistent_keepalive: int = 0


@attrs.frozen(kw_only=True)
class MemberBGPSpec:
    """BGP identity of a route reflector (seed dialect)."""

    asn: int = 0
    router_id: IPv4Address | None = attrs.field(default=None, metadata={"key": "routerID"})


@attrs.frozen(kw_only=True)
class MemberSpec:
    """A route reflector (seed dialect)."""

    node_ref: str
    endpoint: AddressField
    tunnel_address: NetworkField
    wire_guard: MemberWireGuardSpec | None = None
    bgp: MemberBGPSpec | None = None


@attrs.frozen(kw_only=True)
class SAMRRSetSpec:
    """The route reflectors of a fabric: static `members` (seed), or projected `nodes` (later)."""

    enrollment_policy_ref: str
    mobility_pool_refs: tuple[str, ...] = ()
    route_admission: PolicySpec | None = None
    members: tuple[MemberSpec, ...] = ()
    nodes: tuple[NodeSpec, ...] = ()


@attrs.frozen(kw_only=True)
class SAMPeerGroupSpec:
    """Leaves with direct tunnels between them; made at run time."""

    enrollment_policy_ref: str = ""
    transport_fingerprint: str = ""
    nodes: tuple[NodeSpec, ...] = ()
    owned_prefixes_by_node: Mapping[str, tuple[NetworkField, ...]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class MobilityPoolSpec:
    """A prefix in which addresses may move between sites.

    routerd only uses the prefix, which authorises claims. It accepts the other fields so that upstream
    files load; they configure capture, which routerd does not do.
    """

    prefix: NetworkField
    group_ref: str | None = None
    mode: Literal["selective-address"] | None = None
    values: Mapping[str, object] = attrs.field(factory=dict)
    profiles: Mapping[str, object] = attrs.field(factory=dict)
    members_from: tuple[PeerSource, ...] = ()
    members: tuple[Mapping[str, object], ...] = ()
    static_handovers: tuple[Mapping[str, object], ...] = ()
