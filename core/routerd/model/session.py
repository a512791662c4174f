"""BGP as configuration and as status: the speaker, its sessions, policies and advertisements."""

from ipaddress import IPv4Address
from typing import Literal

import attrs

from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.bgp.community import canonical_set


@attrs.frozen(kw_only=True)
class Timers:
    """BGP timers in seconds (RFC 4271 section 10)."""

    connect_retry: int = 10
    hold: int = 90
    keepalive: int = 30


TIMER_PROFILES = {
    "fast": Timers(connect_retry=1, hold=9, keepalive=3),
    "default": Timers(),
    "slow": Timers(connect_retry=30, hold=180, keepalive=60),
}


@attrs.frozen(kw_only=True)
class Speaker:
    """The local BGP speaker. `owner` is the `Kind/name` of its resource.

    `listen` is the address to accept on; none means all. `cluster_id` (RFC 4456 section 7) counts
    if a session is a route-reflector client; none means the router ID.
    """

    asn: int
    router_id: IPv4Address
    owner: str
    port: int = 179
    listen: IPAddress | None = None
    cluster_id: IPv4Address | None = None


@attrs.frozen(kw_only=True)
class Session:
    """A BGP session with one neighbour; the key of its table is the neighbour's address.

    A `passive` session waits for the neighbour to dial. `password` is the TCP MD5 secret
    (RFC 2385), never printed. `source` is the local address to dial from.

    The session comes up only with a speaker at that address whose OPEN has `peer_asn` and, unless
    it is none, `peer_router_id`. The speaker refuses every other one (RFC 4271 section 6.2) before it
    reads a route. A change of `peer_router_id` ends only a session that contradicts it. `claim` is the
    `Kind/name` of the claim of the leaf `leaf` behind this session. Both, and `owner`, are labels; a
    change of a label changes nothing.
    """

    peer_asn: int
    owner: str
    peer_router_id: IPv4Address | None = None
    source: IPAddress | None = None
    passive: bool = False
    route_reflector_client: bool = False
    next_hop_self: bool = False
    ebgp_multihop: int = 0
    timers: Timers = Timers()
    password: str | None = attrs.field(default=None, repr=False)
    leaf: str = ""
    claim: str = ""

    @property
    def whose(self) -> str:
        """Return the expected neighbour in words, with its claim: `leaf a (SAMEnrollmentClaim/a)`."""
        return f"leaf {self.leaf} ({self.claim})" if self.claim else self.owner


_BEHIND_IPV4 = 1 << 32

Range = tuple[int, int]
"""The first and the last address of a prefix, as numbers on one line: IPv6 lies behind all of IPv4."""


def range_of(prefix: IPNetwork) -> Range:
    """Return the range of a prefix; ten times as fast to compare as the prefix itself."""
    first = int(prefix.network_address)
    if prefix.version == 6:
        first += _BEHIND_IPV4
    return first, first + (1 << (prefix.max_prefixlen - prefix.prefixlen)) - 1


@attrs.frozen(kw_only=True)
class ImportPolicy:
    """The paths that one neighbour may bring in, enforced before best-path selection and reflection.

    `hosts` are exact prefixes that may enter (the claim's /32s on a route reflector); `within`
    are prefixes inside which every prefix of length `min_length` to `max_length` may enter (a leaf's
    view of a pool). The lengths are those of IPv4; an IPv6 prefix counts as one with as many host bits, so
    32 means a host in both families. Nothing else enters. `next_hop` is `peer-address` to replace the next
    hop by the neighbour's address, or `unchanged`. `forbidden` prefixes never enter.

    A path must also have all of `required_communities` and none of `forbidden_communities` (RFC 1997;
    in the form `64512:100`, names such as `no-export` are valid too). An announcement that changes
    only its communities is checked again; if it no longer fits, it withdraws the path that it
    replaces. A withdrawal needs no communities.
    """

    hosts: frozenset[IPNetwork] = frozenset()
    within: frozenset[IPNetwork] = frozenset()
    min_length: int = 32
    max_length: int = 32
    forbidden: frozenset[IPNetwork] = frozenset()
    next_hop: Literal["peer-address", "unchanged"] = "peer-address"
    local_preference: int | None = None
    max_prefixes: int = 4096
    required_communities: frozenset[str] = attrs.field(default=frozenset(), converter=canonical_set)
    forbidden_communities: frozenset[str] = attrs.field(default=frozenset(), converter=canonical_set)
    # The same as numbers: every announcement is compared with them.
    ranges_within: tuple[Range, ...] = attrs.field(init=False, eq=False, repr=False)
    ranges_forbidden: tuple[Range, ...] = attrs.field(init=False, eq=False, repr=False)

    @ranges_within.default
    def _ranges_within(self) -> tuple[Range, ...]:
        return tuple(map(range_of, self.within))

    @ranges_forbidden.default
    def _ranges_forbidden(self) -> tuple[Range, ...]:
        return tuple(map(range_of, self.forbidden))


@attrs.frozen(kw_only=True)
class Advertisement:
    """A prefix that we originate; the key of its table is the prefix.

    `communities` (RFC 1997) have the form `64512:100`; names such as `no-export` are valid too. Of
    several routers that announce a prefix, the one with the lowest `med` wins (MULTI_EXIT_DISC, RFC
    4271 section 5.1.4); none counts as 0.
    """

    owner: str
    next_hop: IPAddress | None = None
    communities: frozenset[str] = attrs.field(default=frozenset(), converter=canonical_set)
    local_preference: int | None = None
    med: int | None = None


@attrs.frozen(kw_only=True)
class SessionState:
    """The state of a session, as the speaker sees it.

    `state` is a state of RFC 4271 section 8.2.2 in lower case (`idle`, `connect`, `active`,
    `opensent`, `openconfirm`, `established`). `since` is in seconds since the epoch. `rejected`
    counts refused prefixes by reason code. `remote_router_id` and `remote_asn` come from the
    neighbour's last OPEN, also that of a refused speaker; `last_error` says in words what the session
    expected and what came.
    """

    neighbour: IPAddress
    state: str
    since: float = 0.0
    remote_asn: int | None = None
    remote_router_id: IPv4Address | None = None
    received: int = 0
    accepted: int = 0
    rejected: tuple[tuple[str, int], ...] = ()
    advertised: int = 0
    last_error: str = ""

    @property
    def established(self) -> bool:
        """Say whether routes flow."""
        return self.state == "established"


Prefix = IPNetwork
"""Key of the advertisements table."""
