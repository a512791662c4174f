"""Resources as configured, with their status."""

from collections.abc import Mapping
from typing import Any

import attrs

from routerd.model.addresses import IPAddress
from routerd.model.report import OPTIONAL
from routerd.model.report.claims import ClaimStatus
from routerd.model.report.phases import ResourcePhase
from routerd.model.report.status import Membership


@attrs.frozen(kw_only=True)
class DiscoveredPeer:
    """A leaf that a BGPDynamicPeer has a session with."""

    remote_address: IPAddress
    leaf_id: str
    state: str
    accepted_routes: int = 0
    rejected_routes: int = 0


@attrs.frozen(kw_only=True)
class ResourceStatus:
    """The state of a resource; `objects` counts the objects that it owns on this host.

    Only a BGPDynamicPeer has discovered peers.
    """

    phase: ResourcePhase
    reasons: tuple[str, ...] = ()
    objects: int = 0
    notes: tuple[str, ...] = attrs.field(default=(), metadata=OPTIONAL)
    discovered_peers: tuple[DiscoveredPeer, ...] | None = attrs.field(default=None, metadata=OPTIONAL)
    discovered_peer_count: int | None = attrs.field(default=None, metadata=OPTIONAL)


@attrs.frozen(kw_only=True)
class ResourceMetadata:
    """The name of a resource and its annotations."""

    name: str
    annotations: Mapping[str, str] = attrs.field(factory=dict, metadata=OPTIONAL)


@attrs.frozen(kw_only=True)
class ResourceReport:
    """A resource of the file, or an admitted claim, with its status."""

    api_version: str
    kind: str
    metadata: ResourceMetadata
    status: ResourceStatus | Membership | ClaimStatus
    spec: Mapping[str, Any] = attrs.field(factory=dict)  # Any: JSON


@attrs.frozen(kw_only=True)
class ResourceList:
    """Resources in the order of the file, then admitted claims."""

    items: tuple[ResourceReport, ...] = ()
