"""Kinds of the group `net`: interfaces, addresses, routes, WireGuard and BGP."""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

import attrs

from routerd.model.names import PublicKey
from routerd.model.specs.common import (
    CommunitiesSpec,
    PeerSource,
    PolicySpec,
    SecretSource,
    SessionsSpec,
    StatusValueSource,
    TimersSpec,
)
from routerd.model.specs.families import AddressField, InterfaceField, NetworkField

DEFAULT_ENCRYPTION = "wireguard"
"""The transport of a `WireGuardInterface` that names none: the one of the SAM dialect."""


@attrs.frozen(kw_only=True)
class InterfaceSpec:
    """A network device under a name of ours; with `managed: false` routerd only uses it."""

    ifname: str
    admin_up: bool | None = None
    mtu: int | None = None
    managed: bool = False
    owner: Literal["routerd", "external"] = "external"


@attrs.frozen(kw_only=True)
class IPv4StaticAddressSpec:
    """An address on an interface; `interface` is the name of an `Interface` resource."""

    interface: str
    address: InterfaceField
    exclusive: bool = False
    allow_overlap: bool = False
    allow_overlap_reason: str = ""


@attrs.frozen(kw_only=True)
class IPv4StaticRouteSpec:
    """A static route via a gateway, an interface, or both."""

    destination: NetworkField
    via: AddressField | None = None
    interface: str | None = None
    metric: int | None = None


@attrs.frozen(kw_only=True)
class IPv4RouteSpec:
    """A static route to a device or a blackhole."""

    destination: NetworkField
    type: Literal["unicast", "blackhole"] = "unicast"
    device: str | None = None
    device_from: StatusValueSource | None = None
    gateway: AddressField | None = None
    gateway_from: StatusValueSource | None = None
    preferred_source: AddressField | None = None
    metric: int | None = None
    depends_on: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class WireGuardInterfaceSpec:
    """A device of an encrypting transport. routerd makes a missing `private_key_file` and never rewrites it.

    `mode` is the kind of the transport, and `options` follow its schema.

    `peers_from` names the sources of peers: an enrollment policy on a route reflector, the set of
    route reflectors on a leaf.
    """

    ifname: str | None = None
    self_node_ref: str | None = None
    private_key: str | None = attrs.field(default=None, repr=False)
    private_key_file: Path | None = None
    listen_port: int | None = None
    mtu: int = 1420
    peers_from: tuple[PeerSource, ...] = ()
    mode: str = DEFAULT_ENCRYPTION
    options: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class WireGuardPeerSpec:
    """A static WireGuard peer; overlays a generated peer with the same public key."""

    interface: str
    public_key: PublicKey
    allowed_ips: tuple[NetworkField, ...] = attrs.field(default=(), metadata={"key": "allowedIPs"})
    endpoint: str | None = None
    persistent_keepalive: int = 0
    preshared_key: str | None = attrs.field(default=None, repr=False)
    preshared_key_file: Path | None = None


@attrs.frozen(kw_only=True)
class BGPListenSpec:
    """The address and port on which the speaker accepts sessions."""

    address: AddressField | None = None
    port: int = 179


@attrs.frozen(kw_only=True)
class AllowedPrefixesSpec:
    """A list of prefixes, each exact or wider than the allowed ones."""

    allowed_prefixes: tuple[NetworkField, ...] = ()


@attrs.frozen(kw_only=True)
class RedistributeSpec:
    """The connected and static prefixes that the speaker announces."""

    connected: AllowedPrefixesSpec = AllowedPrefixesSpec()
    static: AllowedPrefixesSpec = AllowedPrefixesSpec()


@attrs.frozen(kw_only=True)
class GracefulRestartSpec:
    """Graceful restart (RFC 4724) as in upstream files; the speaker decides for itself."""

    enabled: bool = True
    restart_time: timedelta | None = None
    stale_path_time: timedelta | None = None


@attrs.frozen(kw_only=True)
class WatcherSpec:
    """Limits of the route watcher."""

    poll_interval: timedelta | None = None
    max_prefixes: int = 4096
    peer_state_change_throttle: timedelta | None = None


@attrs.frozen(kw_only=True)
class BGPRouterSpec:
    """The BGP speaker of this router; at most one."""

    asn: int
    router_id: IPv4Address = attrs.field(metadata={"key": "routerID"})
    listen: BGPListenSpec = BGPListenSpec()
    import_policy: PolicySpec | None = None
    export_policy: PolicySpec | None = None
    redistribute: RedistributeSpec = RedistributeSpec()
    communities: CommunitiesSpec = CommunitiesSpec()
    convergence_profile: Literal["default", "fast", "stable"] = "default"
    timers: TimersSpec = TimersSpec()
    graceful_restart: GracefulRestartSpec | None = None
    watcher: WatcherSpec = WatcherSpec()
    backend: str | None = None


@attrs.frozen(kw_only=True)
class BGPPeerSpec(SessionsSpec):
    """Sessions with fixed neighbours."""

    peers: tuple[AddressField, ...]
    passive_mode: bool = False
    password: str | None = attrs.field(default=None, repr=False)
    password_from: SecretSource | None = None
    communities: CommunitiesSpec | None = None
    bfd: str | None = None


@attrs.frozen(kw_only=True)
class DynamicListenSpec:
    """The source prefixes from which the speaker accepts sessions."""

    source_prefixes: tuple[NetworkField, ...]


@attrs.frozen(kw_only=True)
class BGPDynamicPeerSpec(SessionsSpec):
    """Sessions of admitted leaves: passive, and only from the neighbours that claims derive."""

    listen: DynamicListenSpec
    password: str | None = attrs.field(default=None, repr=False)
    password_from: SecretSource | None = None
