"""Kinds of the group `mobility`: enrollment, transport profiles, sets of nodes, pools."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal

import attrs

from routerd.model.names import PublicKey
from routerd.model.specs.common import (
    PeerSource,
    PolicySpec,
    SecretSource,
    StatusValueSource,
    TimerProfile,
    TimersSpec,
)
from routerd.model.specs.hybrid import TunnelMode


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
class ProfileBGPSpec:
    """BGP over the tunnels of a transport profile."""

    router_ref: str
    peer_asn: int = attrs.field(metadata={"key": "peerASN"})
    generate_peers: bool = True
    timers: TimersSpec | None = None
    timers_preset: TimerProfile = attrs.field()
    ebgp_multihop: int = 0
    route_reflector_client: bool = False
    route_reflector_cluster_id: IPv4Address | None = attrs.field(
        default=None, metadata={"key": "routeReflectorClusterID"}
    )
    import_policy: PolicySpec | None = None
    export_policy: PolicySpec | None = None
    direct_local_preference: int = 200
    bfd: BFDProfileSpec | None = None

    @timers_preset.default
    def _preset_of_timers(self) -> TimerProfile:
        # `timers.profile` and `timersPreset` are two spellings of one thing.
        return self.timers.profile if self.timers is not None else "default"


@attrs.frozen(kw_only=True)
class SAMTransportProfileSpec:
    """Tunnels to a set of peers: one /31 of `inner_prefix` for each pair of nodes."""

    mode: TunnelMode
    inner_prefix: IPv4Network
    self_node_ref: str | None = None
    encryption: Literal["", "none", "wireguard"] = "none"
    addressing_mode: Literal["", "edge-index", "pair-stable"] = "edge-index"
    underlay_interface: str | None = None
    local_endpoint: IPv4Address | None = None
    local_endpoint_from: StatusValueSource | None = None
    key: int | None = None
    encap_sport: int | None = None
    encap_dport: int | None = None
    publish_peer_group: bool = False
    peers_from: tuple[PeerSource, ...] = ()
    topology_node_refs: tuple[str, ...] = ()
    bgp: ProfileBGPSpec | None = None

    @property
    def encrypted(self) -> bool:
        """Say whether tunnels run inside WireGuard."""
        return self.encryption == "wireguard"


@attrs.frozen(kw_only=True)
class NodeWireGuardSpec:
    """WireGuard identity of a node (later dialect)."""

    public_key: PublicKey
    endpoint: str | None = None
    transport_endpoint: IPv4Address | None = None
    allowed_ips: tuple[IPv4Network, ...] = attrs.field(default=(), metadata={"key": "allowedIPs"})
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
    allowed_ips: tuple[IPv4Network, ...] = attrs.field(default=(), metadata={"key": "allowedIPs"})
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
    endpoint: IPv4Address
    tunnel_address: IPv4Network
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
    owned_prefixes_by_node: Mapping[str, tuple[IPv4Network, ...]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class AllowedLeafIDsSpec:
    """The leaf IDs that may join: a regular expression that matches a whole ID."""

    pattern: str


@attrs.frozen(kw_only=True)
class PolicyWireGuardSpec:
    """The limits of a policy for the WireGuard part of a claim."""

    interface: str
    endpoint_prefixes: tuple[IPv4Network, ...] = ()
    allowed_extra_ip_prefixes: tuple[IPv4Network, ...] = attrs.field(
        default=(), metadata={"key": "allowedExtraIPPrefixes"}
    )
    persistent_keepalive: int = 0


@attrs.frozen(kw_only=True)
class DirectMeshSpec:
    """The peer group of leaves that opt in to direct tunnels."""

    peer_group_ref: str


@attrs.frozen(kw_only=True)
class PlacementGroupSpec:
    """The leaves of one site that may share addresses, by a pattern that matches a whole ID."""

    name: str
    allowed_leaf_ids: AllowedLeafIDsSpec = attrs.field(metadata={"key": "allowedLeafIDs"})


@attrs.frozen(kw_only=True)
class SAMEnrollmentPolicySpec:
    """The leaves that may join, their addresses, and the lifetime of their claims.

    `join_tokens_from` are further valid tokens beside `join_token_from`, for an exchange of tokens.
    With `approval: manual` a claim waits until an operator approves its leaf. The reflector refuses a
    claim whose joinTimestamp is further than `freshness_window` from now; none allows claims of any
    age. `placement_groups` are the sites with several leaves.
    """

    transport_profile_ref: str
    tunnel_address_prefixes: tuple[IPv4Network, ...]
    rr_set_ref: str | None = None
    rr_node_set_ref: str | None = None
    join_token_from: SecretSource | None = None
    join_audience: str = ""
    allowed_leaf_ids: AllowedLeafIDsSpec | None = attrs.field(
        default=None, metadata={"key": "allowedLeafIDs"}
    )
    endpoint_prefixes: tuple[IPv4Network, ...] = ()
    wire_guard: PolicyWireGuardSpec | None = None
    direct_mesh: DirectMeshSpec | None = None
    mobility_pool_refs: tuple[str, ...] = ()
    mobility_prefixes: tuple[IPv4Network, ...] = ()
    ttl: timedelta | None = None
    revoke_after_inactive: timedelta | None = None
    join_tokens_from: tuple[SecretSource, ...] = ()
    approval: Literal["auto", "manual"] = "auto"
    freshness_window: timedelta | None = None
    placement_groups: tuple[PlacementGroupSpec, ...] = ()


@attrs.frozen(kw_only=True)
class ClaimWireGuardSpec:
    """WireGuard identity of a leaf; the leaf signs the texts as they are."""

    public_key: str
    endpoint: str = ""
    allowed_ips: tuple[str, ...] = attrs.field(default=(), metadata={"key": "allowedIPs"})
    persistent_keepalive: int = 0


@attrs.frozen(kw_only=True)
class ClaimMobilitySpec:
    """The addresses that a leaf claims."""

    owned_addresses: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ClaimBGPSpec:
    """BGP identity of a leaf; the router ID is signed text."""

    asn: int = 0
    router_id: str = attrs.field(default="", metadata={"key": "routerID"})


@attrs.frozen(kw_only=True)
class SAMEnrollmentClaimSpec:
    """A leaf's claim as its author writes it; texts stay unchanged, because the leaf signs them."""

    policy_ref: str
    leaf_id: str = attrs.field(metadata={"key": "leafID"})
    tunnel_address: str
    rr_set_ref: str = ""
    join_audience: str = ""
    join_nonce: str = ""
    join_timestamp: str = ""
    join_hmac: str = attrs.field(default="", repr=False, metadata={"key": "joinHMAC"})
    endpoint: str = ""
    wire_guard: ClaimWireGuardSpec | None = None
    direct_mesh: bool = False
    placement: PlacementSpec | None = None
    mobility: ClaimMobilitySpec = ClaimMobilitySpec()
    bgp: ClaimBGPSpec = ClaimBGPSpec()
    expires_at: str = ""
    revoked: bool = False


@attrs.frozen(kw_only=True)
class RetryBackoffSpec:
    """Pauses between failed attempts."""

    min: timedelta = timedelta(seconds=10)
    max: timedelta = timedelta(minutes=15)


@attrs.frozen(kw_only=True)
class ClientTLSSpec:
    """TLS of the client: the check of a route reflector, and the client's own certificate."""

    ca_file: Path | None = attrs.field(default=None, metadata={"key": "caFile"})
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None
    insecure_skip_verify: bool = False


@attrs.frozen(kw_only=True)
class SAMEnrollmentClientSpec:
    """The reflectors of a leaf. With `join_token_from` the leaf signs and renews its claim."""

    claim_ref: str
    bootstrap_endpoints: tuple[str, ...] = ()
    rr_socket: Path | None = None
    control_api_token_from: SecretSource | None = attrs.field(
        default=None, metadata={"key": "controlAPITokenFrom"}
    )
    control_api_tls: ClientTLSSpec | None = attrs.field(default=None, metadata={"key": "controlAPITLS"})
    state_ttl_refresh_before: timedelta = attrs.field(
        default=timedelta(minutes=10), metadata={"key": "stateTTLRefreshBefore"}
    )
    retry_backoff: RetryBackoffSpec = RetryBackoffSpec()
    join_token_from: SecretSource | None = None


@attrs.frozen(kw_only=True)
class MobilityPoolSpec:
    """A prefix in which addresses may move between sites.

    routerd only uses the prefix, which authorises claims. It accepts the other fields so that upstream
    files load; they configure capture, which routerd does not do.
    """

    prefix: IPv4Network
    group_ref: str | None = None
    mode: Literal["selective-address"] | None = None
    values: Mapping[str, object] = attrs.field(factory=dict)
    profiles: Mapping[str, object] = attrs.field(factory=dict)
    members_from: tuple[PeerSource, ...] = ()
    members: tuple[Mapping[str, object], ...] = ()
    static_handovers: tuple[Mapping[str, object], ...] = ()
