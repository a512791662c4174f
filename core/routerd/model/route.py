"""Kernel routes, addresses, and the routes that a routing provider learns."""

from ipaddress import IPv4Address
from typing import Literal

import attrs

from routerd.model.addresses import IPAddress, IPInterface, IPNetwork, order
from routerd.model.names import LinkName

ROUTE_PROTOCOL = 147
"""Number in `rtm_protocol` (and `IFA_PROTO`) that marks our routes and addresses."""

ROUTE_METRIC = 200
"""Metric of learned routes; a lower one, such as an administrator's, wins."""

MAX_NEXT_HOPS = 16


@attrs.frozen(kw_only=True, order=True)
class NextHop:
    """One next hop: a gateway, a device, or both (`onlink` when the gateway has no route)."""

    gateway: IPAddress | None = attrs.field(default=None, order=order)
    link: LinkName | None = None
    onlink: bool = False


@attrs.frozen(kw_only=True, order=True, cache_hash=True)
class RouteKey:
    """The identity of a route in the kernel; `table` 254 is `main`."""

    prefix: IPNetwork = attrs.field(order=order)
    metric: int = ROUTE_METRIC
    table: int = 254


@attrs.frozen(kw_only=True)
class Route:
    """A route of ours; `kind` is the kernel's route type."""

    next_hops: tuple[NextHop, ...]
    kind: Literal["unicast", "blackhole"] = "unicast"
    source: IPAddress | None = None


@attrs.frozen(kw_only=True, order=True)
class AddressKey:
    """Key of an interface address."""

    link: LinkName
    address: IPInterface = attrs.field(order=order)


@attrs.frozen(kw_only=True)
class Address:
    """An address of ours on a link that may not be ours; `owner` is `Kind/name`."""

    owner: str = attrs.field(default="", eq=False)


@attrs.frozen(kw_only=True)
class LearnedRoute:
    """One path that a neighbour announced and the import policy accepted.

    `source` is the routing protocol that learned it; the core fills it in for every protocol but BGP.
    `neighbour` is the router that announced it, for a protocol without neighbours the next hop.

    `best` marks the paths chosen by the decision process (RFC 4271 section 9.1); several at once are
    equal-cost. A `stale` path outlives
    its lost session (RFC 4724 section 4.2) until the neighbour returns. `med` is MULTI_EXIT_DISC, 0
    without one. `origin` is the code of ORIGIN, 0 for IGP; `internal` says that the session is inside our
    AS. `routerd.model.bgp.best_path` has the comparison.
    """

    prefix: IPNetwork
    next_hop: IPAddress
    neighbour: IPAddress
    best: bool = True
    local_preference: int = 100
    as_path: tuple[int, ...] = ()
    communities: frozenset[str] = frozenset()
    originator: IPv4Address | None = None
    stale: bool = False
    med: int = 0
    origin: int = 0
    internal: bool = True
    source: str = "bgp"


@attrs.frozen(kw_only=True)
class RejectedRoute:
    """A path that the import policy refused, with the reason code of the refusal."""

    prefix: IPNetwork
    neighbour: IPAddress
    reason: str
    source: str = "bgp"


@attrs.frozen(kw_only=True)
class RouteSet:
    """Everything that a routing provider knows at one moment: a whole set, never an event.

    Until the set is `complete` (the speaker has just started, sessions are still coming up) the core
    only adds routes and deletes none. `heard` are the neighbours whose session is up and that have
    sent all their routes (End-of-RIB, RFC 4724 section 2) or cannot announce the end; unlike
    `complete`, it may shrink again.
    """

    routes: tuple[LearnedRoute, ...] = ()
    rejected: tuple[RejectedRoute, ...] = ()
    complete: bool = False
    heard: frozenset[IPAddress] = frozenset()
