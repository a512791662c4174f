"""The status of a router, part by part."""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Address

import attrs

from routerd.model.addresses import IPAddress
from routerd.model.fabric import InstanceFacts
from routerd.model.names import LinkName, PublicKey
from routerd.model.report.phases import ClaimPhase, MembershipPhase, RouterPhase
from routerd.model.report.plan import PlannedChange
from routerd.model.route import LearnedRoute, RejectedRoute
from routerd.model.subsystem import SubsystemState
from routerd.model.tunnel import TunnelState


@attrs.frozen(kw_only=True)
class PendingChange:
    """A change that failed and that routerd will retry; `resource` is the owner of the key."""

    key: str
    resource: str = ""
    failures: int = 0
    error: str = ""


@attrs.frozen(kw_only=True)
class TableStatus:
    """A table at its last reading. `error` says why it could not be read."""

    name: str
    desired: int = 0
    observed: int = 0
    in_sync: int = 0
    complete: bool = True
    error: str = ""
    pending: tuple[PendingChange, ...] = ()
    planned: tuple[PlannedChange, ...] = ()


@attrs.frozen(kw_only=True)
class LaneStatus:
    """Passes of a lane, and the seconds that the last one took."""

    passes: int
    last_seconds: float


@attrs.frozen(kw_only=True)
class SessionStatus:
    """A BGP session. `rejected` counts refused prefixes by reason code."""

    neighbour: IPAddress
    state: str
    leaf: str = ""
    passive: bool = False
    since: datetime | None = None
    remote_asn: int | None = None
    remote_router_id: IPv4Address | None = None
    received: int = 0
    accepted: int = 0
    rejected: Mapping[str, int] = attrs.field(factory=dict)
    advertised: int = 0
    last_error: str = ""


@attrs.frozen(kw_only=True)
class EncryptedPeer:
    """A peer of an encrypting transport.

    `mode` is the transport's; `handshake_age` is in seconds, none before the first handshake.
    """

    link: LinkName
    mode: str
    public_key: PublicKey
    endpoint: str | None = None
    handshake_age: int | None = None
    alive: bool = False
    rx_bytes: int = 0
    tx_bytes: int = 0


@attrs.frozen(kw_only=True)
class RouteStatus(LearnedRoute):
    """A learned route, and whether the kernel has it."""

    installed: bool = False


@attrs.frozen(kw_only=True)
class CloudStatus(InstanceFacts):
    """The instance that this router runs on, as the cloud of a profile describes it."""

    profile: str


@attrs.frozen(kw_only=True)
class AdmittedStatus:
    """A claim that was admitted; `active` says that its phase is `Approved`."""

    name: str
    leaf_id: str
    policy: str
    phase: ClaimPhase
    active: bool
    owned: tuple[str, ...] = ()
    tunnel_address: str = ""
    admitted_at: datetime | None = None
    expires_at: datetime | None = None


@attrs.frozen(kw_only=True)
class MembershipEndpoint:
    """A route reflector of a leaf, and whether it holds the leaf's claim."""

    target: str
    accepted: bool = False
    until: datetime | None = None
    failures: int = 0
    reason: str = ""
    error: str = ""


@attrs.frozen(kw_only=True)
class Membership:
    """A leaf's enrollment; `name` is the reference of its SAMEnrollmentClient.

    `endpoints` are in the order of the file. `ends` is when the first reflector that accepted the
    claim drops it unless the leaf renews it; `warning` says so when that is near and should not be.
    """

    name: str
    phase: MembershipPhase
    reason: str = ""
    message: str = ""
    claim: str = ""
    claim_digest: str = ""
    reflectors: int = 0
    last_success: datetime | None = None
    next_attempt: datetime | None = None
    ends: datetime | None = None
    warning: str = ""
    endpoints: tuple[MembershipEndpoint, ...] = ()


@attrs.frozen(kw_only=True)
class ListenerStatus:
    """The enrollment listener: its address while it listens, else the error."""

    address: str = ""
    error: str = ""


@attrs.frozen(kw_only=True)
class LoopStatus:
    """How late the event loop is, in seconds: at the last measurement, and at most since the start.

    `blocked` counts the times that it did not run for more than a second.
    """

    lag_seconds: float = 0.0
    longest_lag_seconds: float = 0.0
    blocked: int = 0


@attrs.frozen(kw_only=True)
class PluginStatus:
    """A plugin and its troubles, which are among the reasons and notes of the status too.

    `dropped_log_lines` counts lines that its log budget had no room for. `restart` says what waits for a
    restart of routerd, nothing if it is empty.
    """

    name: str
    troubles: tuple[str, ...] = ()
    dropped_log_lines: int = 0
    restart: str = ""


@attrs.frozen(kw_only=True)
class SubsystemStatus(SubsystemState):
    """One line of a subsystem, of the plugin that provides it."""

    subsystem: str
    plugin: str


@attrs.frozen(kw_only=True)
class Status:
    """The whole status: `reasons` keep the router from being ready, `notes` do not."""

    phase: RouterPhase
    node: str = ""
    version: str = ""
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    config_file: str = ""
    plugins: tuple[str, ...] = ()
    time: datetime | None = None
    tables: tuple[TableStatus, ...] = ()
    lanes: Mapping[str, LaneStatus] = attrs.field(factory=dict)
    sessions: tuple[SessionStatus, ...] = ()
    tunnels: tuple[TunnelState, ...] = ()
    encrypted_peers: tuple[EncryptedPeer, ...] = ()
    routes: tuple[RouteStatus, ...] = ()
    rejected: tuple[RejectedRoute, ...] = ()
    fabrics: tuple[CloudStatus, ...] = ()
    claims: tuple[AdmittedStatus, ...] = ()
    enrollment: tuple[Membership, ...] = ()
    listener: ListenerStatus = ListenerStatus()
    loop: LoopStatus = LoopStatus()
    plugin_states: tuple[PluginStatus, ...] = ()
    subsystems: tuple[SubsystemStatus, ...] = ()


@attrs.frozen(kw_only=True)
class PeerList:
    """The sessions and the peers of encrypting transports of a status."""

    sessions: tuple[SessionStatus, ...] = ()
    encrypted_peers: tuple[EncryptedPeer, ...] = ()


@attrs.frozen(kw_only=True)
class RouteList:
    """The learned routes of a status."""

    items: tuple[RouteStatus, ...] = ()


@attrs.frozen(kw_only=True)
class RejectedRouteList:
    """The refused prefixes of a status."""

    items: tuple[RejectedRoute, ...] = ()
