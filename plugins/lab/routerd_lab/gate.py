"""The assertions of the live test, judged from the world alone. Pure: no I/O."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

import attrs

from routerd_lab.events import Check, Count
from routerd_lab.matrix import Pair
from routerd_lab.topology import Site, Topology
from routerd_lab.world import World


def counts(topology: Topology, world: World) -> Iterator[Count]:
    """Yield the progress of the fabric: sessions, then routes in kernels and in clouds."""
    yield Count(name="BGP sessions", have=len(_sessions(topology, world)), want=len(topology.leaves))
    for site in topology.sites:
        wanted = topology.remote_prefixes(site)
        have = sum(world.has_route(site.leaf.name, prefix) for prefix in wanted)
        yield Count(name=f"{site.leaf.name} kernel routes", have=have, want=len(wanted))
    for site in topology.sites:
        wanted = topology.remote_prefixes(site)
        label = "guest routes" if site.masquerade else "cloud routes"
        missing = _missing_cloud_routes(site, wanted, world)
        yield Count(name=f"{site.name} {label}", have=len(wanted) - len(missing), want=len(wanted))


def converged(topology: Topology, world: World) -> bool:
    """Say whether every assertion but the pairs holds."""
    return all(check.passed for check in checks(topology, world))


def checks(topology: Topology, world: World) -> tuple[Check, ...]:
    """Return the assertions about sessions, routes and clouds."""
    return (
        _check_sessions(topology, world),
        _check_accepted(topology, world),
        _check_kernels(topology, world),
        *(_check_site(topology, site, world) for site in topology.sites),
    )


def check_pairs(topology: Topology, pairs: Iterable[Pair]) -> Check:
    """Return the assertion about the pairs."""
    found = tuple(pairs)
    failing = [pair for pair in found if not pair.passed]
    name = f"{len(topology.pairs)} of {len(topology.pairs)} directed pairs pass by ping and SSH"
    if not failing and len(found) == len(topology.pairs):
        return Check(name=name, passed=True)
    return Check(name=name, passed=False, detail=f"{len(failing)} fail")


def explained(topology: Topology, pairs: Iterable[Pair], world: World) -> tuple[Pair, ...]:
    """Return the pairs, each failing one with its probable cause."""
    return tuple(
        pair
        if pair.passed
        else attrs.evolve(
            pair, detail="; ".join([pair.detail, *dict.fromkeys(suspects(topology, pair, world))])
        )
        for pair in pairs
    )


def suspects(topology: Topology, pair: Pair, world: World) -> Iterator[str]:
    """Yield the controls that a failing pair lacks in either direction."""
    ends = (topology.site_of(pair.source), topology.site_of(pair.target))
    for near, far in (ends, ends[::-1]):
        prefix = IPv4Network(far.client.primary.address.ip if far.client.owned is None else far.client.owned)
        if _missing_cloud_routes(near, (prefix,), world):
            table = "guest routes of" if near.masquerade else "route table of"
            yield f"{prefix} is not in the {table} {near.name}"
        if unforwarded := _checked_routers(near, world):
            yield f"source/destination check or IP forwarding is not set for {', '.join(unforwarded)}"
        if not world.has_route(near.leaf.name, prefix):
            yield f"{near.leaf.name} has no kernel route to {prefix}"
        if near.name == "oci":
            yield "if all else is set: the image's FORWARD reject on oci-leaf (iptables -S FORWARD)"


def _sessions(topology: Topology, world: World) -> frozenset[str]:
    """Return the leaves whose session stands in both kernels: accepted here, dialled there."""
    reflectors = [node.name for node in topology.routers if node.role == "rr"]
    accepted = {
        (session.remote, session.local)
        for name in reflectors
        for session in world.sessions.get(name, ())
        if not session.dialled
    }
    return frozenset(
        leaf.name
        for leaf in topology.leaves
        for session in world.sessions.get(leaf.name, ())
        if session.dialled and (session.local, session.remote) in accepted
    )


def _check_sessions(topology: Topology, world: World) -> Check:
    up = _sessions(topology, world)
    missing = [leaf.name for leaf in topology.leaves if leaf.name not in up]
    return Check(
        name=f"{len(topology.leaves)} dynamic BGP sessions are established, seen from both ends",
        passed=not missing,
        detail=f"missing: {', '.join(missing)}" if missing else "",
    )


def _check_accepted(topology: Topology, world: World) -> Check:
    """Judge acceptance by its effect: a reflector passes an accepted route on to every other leaf.

    It does so before its own kernel has the route, and drops what comes in between. So its kernel counts.
    """
    reflectors = [node.name for node in topology.routers if node.role == "rr"]
    refused = []
    for site in topology.sites:
        prefix = IPv4Network(site.client.primary.address.ip if not site.client.owned else site.client.owned)
        others = [other.leaf.name for other in topology.sites if other is not site]
        if not all(world.has_route(name, prefix) for name in (*others, *reflectors)):
            refused.append(str(prefix))
    total = len(topology.sites)
    return Check(
        name=f"{total} routes accepted and none rejected, judged by what the other leaves received",
        passed=not refused,
        detail=f"not received everywhere: {', '.join(refused)}" if refused else "",
    )


def _check_kernels(topology: Topology, world: World) -> Check:
    wrong = []
    for site in topology.sites:
        wanted = set(topology.remote_prefixes(site))
        have = {
            route.prefix for route in world.routes.get(site.leaf.name, ()) if route.prefix.prefixlen == 32
        }
        if missing := sorted(wanted - have):
            wrong.append(f"{site.leaf.name} lacks {', '.join(map(str, missing))}")
    return Check(
        name="every leaf's kernel holds all remote routes", passed=not wrong, detail="; ".join(wrong)
    )


def _check_site(topology: Topology, site: Site, world: World) -> Check:
    wanted = topology.remote_prefixes(site)
    missing = [f"no route to {prefix}" for prefix in _missing_cloud_routes(site, wanted, world)]
    if site.masquerade:
        name = f"{site.name}: {site.client.name} has in-guest routes to the remote clients"
    else:
        name = f"{site.name}: its API holds the forwarding switches and the remote routes"
        missing += [f"{router} is checked" for router in _checked_routers(site, world)]
    return Check(name=name, passed=not missing, detail=", ".join(missing))


def _missing_cloud_routes(site: Site, wanted: Iterable[IPv4Network], world: World) -> tuple[IPv4Network, ...]:
    if site.masquerade:
        return tuple(prefix for prefix in wanted if prefix not in world.guest_routes)
    controls = world.clouds[site.name]
    leaf = site.leaf.primary.address.ip
    subnets = {port.subnet for port in controls.ports if port.address == site.client.primary.address.ip}
    return tuple(
        prefix
        for prefix in wanted
        if not subnets or any(controls.tables.get(subnet, {}).get(prefix) != leaf for subnet in subnets)
    )


def _checked_routers(site: Site, world: World) -> tuple[str, ...]:
    """Return the routers of a cloud whose NIC may not forward."""
    if site.masquerade:
        return ()
    open_to = {port.address for port in world.clouds[site.name].ports if port.forwarding}
    return tuple(
        node.name for node in site.nodes if node.is_router and node.primary.address.ip not in open_to
    )
