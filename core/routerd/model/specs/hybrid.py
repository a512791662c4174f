"""Kinds of the group `hybrid`: explicit tunnels and cloud profiles."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

import attrs

from routerd.model.specs.common import StatusValueSource
from routerd.model.specs.families import AddressField, InterfaceField, NetworkField


@attrs.frozen(kw_only=True)
class PathMTUSpec:
    """The treatment of packets larger than the tunnel."""

    force_fragment_ipv4: bool = attrs.field(default=False, metadata={"key": "forceFragmentIPv4"})


@attrs.frozen(kw_only=True)
class TunnelInterfaceSpec:
    """An explicit tunnel; `trusted_underlay` accepts that it carries clear text.

    `mode` is the kind of the transport that makes it; `options` follow that transport's own schema.
    """

    mode: str
    local: AddressField | None = None
    local_from: StatusValueSource | None = None
    remote: AddressField | None = None
    remote_from: StatusValueSource | None = None
    address: InterfaceField | None = None
    peer_address: AddressField | None = None
    underlay_interface: str | None = None
    mtu: int | None = None
    ttl: int = 64
    key: int | None = None
    encap_sport: int | None = None
    encap_dport: int | None = None
    trusted_underlay: bool = False
    path_mtu: PathMTUSpec | None = attrs.field(default=None, metadata={"key": "pathMTU"})
    options: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class CloudAuthSpec:
    """The authentication of upstream programs; routerd always uses ambient credentials."""

    mode: Literal["external-command", "ambient"] = "ambient"
    command: str | None = None


@attrs.frozen(kw_only=True)
class CloudProviderProfileSpec:
    """The cloud of this router, and the changes that routerd may make in it.

    `mode` `plan` only shows changes, `approve` makes the approved ones, `auto` makes all of them. A route
    that is no longer needed stays for `removal_hold_down`. `takeover_from` names the site's other routers
    in the words of the provider; when this router has been the best for `takeover_hold_down`, it takes
    over their routes. With `aggregate`, addresses that fill a larger prefix share one route to it.
    Without a change on our side routerd reads the cloud every `resync_interval`. `options` follow the
    provider's own schema.
    """

    provider: str
    subscription_id: str | None = attrs.field(default=None, metadata={"key": "subscriptionID"})
    resource_group: str | None = None
    capabilities: tuple[str, ...] = ()
    auth: CloudAuthSpec | None = None
    mode: Literal["plan", "approve", "auto"] = "plan"
    removal_hold_down: timedelta = timedelta(minutes=1)
    aggregate: bool = False
    resync_interval: timedelta = timedelta(minutes=15)
    takeover_from: tuple[str, ...] = ()
    takeover_hold_down: timedelta = timedelta(seconds=10)
    options: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ProviderActionPolicySpec:
    """Gates before provider actions, as written in upstream files."""

    enabled: bool = False
    dry_run_only: bool | None = None
    require_approval: bool | None = None
    allowed_providers: tuple[str, ...] = ()
    allowed_provider_refs: tuple[str, ...] = ()
    allowed_actions: tuple[str, ...] = ()
    allowed_cidrs: tuple[NetworkField, ...] = attrs.field(default=(), metadata={"key": "allowedCIDRs"})
    max_actions_per_run: int = 0
    allow_undo: bool = False
    execution_window: str = ""
