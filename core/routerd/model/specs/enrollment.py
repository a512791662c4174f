"""Kinds of the group `mobility` for enrollment: policies, claims and clients."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal

import attrs

from routerd.model.specs.common import SecretSource
from routerd.model.specs.families import NetworkField
from routerd.model.specs.mobility import PlacementSpec

DEFAULT_JOIN_METHOD = "token"
"""The join method of a file that names none: the one of the SAM dialect."""

NO_JOIN_METHOD = "none"
"""Word of a policy that admits every leaf without a proof, and of a client that sends none."""


@attrs.frozen(kw_only=True)
class AllowedLeafIDsSpec:
    """The leaf IDs that may join: a regular expression that matches a whole ID."""

    pattern: str


@attrs.frozen(kw_only=True)
class PolicyWireGuardSpec:
    """The limits of a policy for the WireGuard part of a claim."""

    interface: str
    endpoint_prefixes: tuple[NetworkField, ...] = ()
    allowed_extra_ip_prefixes: tuple[NetworkField, ...] = attrs.field(
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
    age. `placement_groups` are the sites with several leaves. `join_options` follow the schema of the
    join method.
    """

    transport_profile_ref: str
    tunnel_address_prefixes: tuple[NetworkField, ...]
    rr_set_ref: str | None = None
    rr_node_set_ref: str | None = None
    join_token_from: SecretSource | None = None
    join_audience: str = ""
    allowed_leaf_ids: AllowedLeafIDsSpec | None = attrs.field(
        default=None, metadata={"key": "allowedLeafIDs"}
    )
    endpoint_prefixes: tuple[NetworkField, ...] = ()
    wire_guard: PolicyWireGuardSpec | None = None
    direct_mesh: DirectMeshSpec | None = None
    mobility_pool_refs: tuple[str, ...] = ()
    mobility_prefixes: tuple[NetworkField, ...] = ()
    ttl: timedelta | None = None
    revoke_after_inactive: timedelta | None = None
    join_tokens_from: tuple[SecretSource, ...] = ()
    approval: Literal["auto", "manual"] = "auto"
    freshness_window: timedelta | None = None
    placement_groups: tuple[PlacementGroupSpec, ...] = ()
    join_method: str = DEFAULT_JOIN_METHOD
    join_options: Mapping[str, object] = attrs.field(factory=dict)


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
    """The reflectors of a leaf.

    With `join_token_from`, or with a join method that needs no token, the leaf signs and renews its
    claim. `join_options` follow the schema of the join method.
    """

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
    join_method: str = DEFAULT_JOIN_METHOD
    join_options: Mapping[str, object] = attrs.field(factory=dict)
