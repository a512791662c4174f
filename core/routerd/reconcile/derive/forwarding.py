"""Learned routes in the kernel and in the cloud's route tables."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses

from routerd.model.addresses import IPAddress, IPNetwork, order
from routerd.model.bgp.import_policy import FAMILY, OUTSIDE, refusal
from routerd.model.change import DesiredTable
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding
from routerd.model.route import LearnedRoute, NextHop, RejectedRoute, Route, RouteKey
from routerd.model.specs import BGPRouterSpec, CloudProviderProfileSpec
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.overlay import Adjacencies
from routerd.reconcile.derive.routing import general_policy, own_prefixes
from routerd.reconcile.derive.underlay import static_routes


def refused(inputs: Inputs, policies: DesiredTable) -> tuple[RejectedRoute, ...]:
    """Return the best paths that the core's own import policy refuses, whatever a routing plugin lets in.

    The core installs no IPv6 yet, whatever a policy says. `policies` are those of the BGP neighbours, and who
    has none brings in nothing; other protocols are held to the general policy.
    """
    general = general_policy(inputs) if inputs.routings else None
    found = []
    for path in inputs.learned.routes if inputs.learned is not None else ():
        if not path.best:
            continue
        policy = policies.values.get(path.neighbour) if path.source == "bgp" else general
        reason: str | None
        if not (isinstance(path.prefix, IPv4Network) and isinstance(path.next_hop, IPv4Address)):
            reason = FAMILY
        elif policy is not None:
            reason = refusal(path.prefix, policy, path.communities)
        else:
            # While claims are still to come, their neighbours' policies are too.
            reason = OUTSIDE if policies.complete else None
        if reason is not None:
            found.append(_rejected(path, reason))
    return tuple(found)


def _rejected(path: LearnedRoute, reason: str) -> RejectedRoute:
    return RejectedRoute(prefix=path.prefix, neighbour=path.neighbour, reason=reason, source=path.source)


def tables(
    inputs: Inputs, links: Adjacencies, rejected: tuple[RejectedRoute, ...] = ()
) -> dict[str, DesiredTable]:
    """Return the kernel's routes, and forwarding and routes of each cloud that has answered.

    A path that is `rejected` stays out.
    """
    barred = {(each.prefix, each.neighbour, each.source) for each in rejected}
    # The routing provider has decided which paths are best. A prefix that this leaf owns stays here, even
    # while its announcement is not out yet.
    own = own_prefixes(inputs)
    paths = inputs.learned.routes if inputs.learned is not None else ()
    allowed = (path for path in paths if path.best and path.prefix not in own)
    if barred:
        allowed = (each for each in allowed if (each.prefix, each.neighbour, each.source) not in barred)
    best = sorted(allowed, key=_position)
    remote: dict[IPNetwork, set[IPAddress]] = {}
    for path in best:
        remote.setdefault(path.prefix, set()).add(path.next_hop)
    speaks = inputs.intent.first(BGPRouterSpec) is not None
    known = not (speaks or inputs.routings) or (inputs.learned is not None and inputs.learned.complete)
    routes = _kernel_routes(links, remote)
    static = static_routes(inputs, links)
    result = {
        "routes": DesiredTable(values=routes | static, complete=known and links.complete),
    }
    for profile in inputs.intent.of(CloudProviderProfileSpec):
        facts = inputs.instances.get(profile.name)
        if facts is None:
            # This cloud has not answered yet, so its tables stay as they are.
            for table in ("forwarding", "routes"):
                result[f"{table}/{profile.name}"] = DesiredTable(complete=False)
            continue
        result[f"forwarding/{profile.name}"] = DesiredTable(
            values={nic.ref: Forwarding(enabled=True) for nic in facts.nics},
            owners={nic.ref: profile.ref for nic in facts.nics},
        )
        wanted = {
            FabricRouteKey(table=table, prefix=prefix): FabricRoute(next_hop=facts.next_hop)
            for table in facts.route_tables
            for prefix in (aggregated(remote) if profile.spec.aggregate else remote)
        }
        result[f"routes/{profile.name}"] = DesiredTable(
            values=wanted, complete=known, owners=dict.fromkeys(wanted, profile.ref)
        )
    return result


def aggregated(prefixes: Iterable[IPNetwork]) -> Iterable[IPNetwork]:
    """Return the smallest set of prefixes that covers exactly the same addresses."""
    known = list(prefixes)
    four = (each for each in known if isinstance(each, IPv4Network))
    six = (each for each in known if isinstance(each, IPv6Network))
    return [*collapse_addresses(four), *collapse_addresses(six)]


def _position(route: LearnedRoute) -> tuple[int, int, int]:
    """Return a sort key of numbers; it sorts five times as fast as the prefixes themselves."""
    return route.prefix.version, int(route.prefix.network_address), route.prefix.prefixlen


def _kernel_routes(links: Adjacencies, remote: dict[IPNetwork, set[IPAddress]]) -> dict[RouteKey, Route]:
    devices = {adjacency.neighbour: adjacency.tunnel.link for adjacency in links}
    # Many prefixes share few next hops; a shared route object is compared and packed once.
    shared: dict[tuple[IPAddress, ...], Route] = {}
    routes: dict[RouteKey, Route] = {}
    for prefix, next_hops in remote.items():
        gateways = tuple(sorted(next_hops, key=order))
        route = shared.get(gateways)
        if route is None:
            hops = tuple(NextHop(gateway=gateway, link=devices.get(gateway)) for gateway in gateways)
            route = shared[gateways] = Route(next_hops=hops)
        routes[RouteKey(prefix=prefix)] = route
    return routes
