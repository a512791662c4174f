"""Values that several kinds of resource share."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

import attrs

from routerd.model.specs.families import NetworkField

TimerProfile = Literal["fast", "default", "slow"]
NextHopRewrite = Literal["peer-address", "unchanged"]


@attrs.frozen(kw_only=True)
class SecretSource:
    """The place of a secret: exactly one of `file` and `env`; `base64` decodes it."""

    file: Path | None = None
    env: str | None = None
    base64: bool = False


@attrs.frozen(kw_only=True)
class StatusValueSource:
    """A value from the status of another resource."""

    resource: str
    field: str = "phase"
    optional: bool = False


@attrs.frozen(kw_only=True)
class PolicySpec:
    """An import or export policy: prefixes, and the allowed lengths inside them."""

    allowed_prefixes: tuple[NetworkField, ...] = ()
    allowed_prefix_length_min: int | None = None
    allowed_prefix_length_max: int | None = None
    required_communities: tuple[str, ...] = ()
    forbidden_communities: tuple[str, ...] = ()
    next_hop_rewrite: NextHopRewrite = "peer-address"
    local_preference: int | None = None


@attrs.frozen(kw_only=True)
class TimersSpec:
    """BGP timers by profile."""

    profile: TimerProfile = "default"


@attrs.frozen(kw_only=True)
class SessionsSpec:
    """What all kinds of BGP sessions have in common."""

    router_ref: str
    peer_asn: int = attrs.field(metadata={"key": "peerASN"})
    ebgp_multihop: int = 0
    route_reflector_client: bool = False
    route_reflector_cluster_id: IPv4Address | None = attrs.field(
        default=None, metadata={"key": "routeReflectorClusterID"}
    )
    import_policy: PolicySpec | None = None
    export_policy: PolicySpec | None = None
    timers: TimersSpec | None = None


@attrs.frozen(kw_only=True)
class CommunitySetSpec:
    """Communities added to routes on their way in and out."""

    inbound: tuple[str, ...] = attrs.field(default=(), metadata={"key": "in"})
    outbound: tuple[str, ...] = attrs.field(default=(), metadata={"key": "out"})


@attrs.frozen(kw_only=True)
class CommunitiesSpec:
    """The communities that the speaker sends, accepts and sets."""

    send: Literal["standard", "extended", "both"] = "both"
    accept: tuple[str, ...] = ()
    set: CommunitySetSpec = CommunitySetSpec()


def _stripped(text: str) -> str:
    return text.strip()


@attrs.frozen(kw_only=True)
class PeerSource:
    """A resource that gives peers, such as `SAMRRSet/rrs`.

    `optional` sources may be missing; `node_refs` limits the peers to the named nodes.
    """

    resource: str = attrs.field(converter=_stripped)
    optional: bool = False
    direct: bool = False
    node_refs: tuple[str, ...] = ()

    def takes(self, node: str) -> bool:
        """Say whether the source may give a node of this name."""
        return not self.node_refs or node.strip() in {name.strip() for name in self.node_refs}
