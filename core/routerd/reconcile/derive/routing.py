"""BGP: the speaker, a session for each adjacency, the import policies, and our announcements."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd.model.addresses import IPAddress, IPNetwork, host_prefix, inside
from routerd.model.change import DesiredTable
from routerd.model.claim import Claim
from routerd.model.intent import Named
from routerd.model.session import TIMER_PROFILES, Advertisement, ImportPolicy, Session, Speaker, Timers
from routerd.model.specs import (
    BGPDynamicPeerSpec,
    BGPPeerSpec,
    BGPRouterSpec,
    IPv4StaticAddressSpec,
    IPv4StaticRouteSpec,
    MobilityPoolSpec,
    PolicySpec,
    SAMTransportProfileSpec,
)
from routerd.model.specs.leaves import pools
from routerd.reconcile.derive.identity import accepting, held_to, is_own, leaves_among
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.overlay import Adjacencies, Adjacency

REFLECTOR_PREFERENCE = 100


def tables(inputs: Inputs, links: Adjacencies) -> dict[str, DesiredTable]:
    """Return the tables of every routing; those of BGP only with a `BGPRouter`."""
    router = inputs.intent.first(BGPRouterSpec)
    others = _others(inputs, router)
    if router is None:
        return others
    sessions: dict[IPAddress, Session] = {}
    import_policies: dict[IPAddress, ImportPolicy] = {}
    for found in inputs.intent.of(BGPPeerSpec):
        for neighbour in found.spec.peers:
            sessions[neighbour] = _static_session(router, found)
            import_policies[neighbour] = _within(
                inputs, found.spec.import_policy or router.spec.import_policy
            )
    import_policies |= _claimed(inputs, router, links)
    for neighbour, claim in leaves_among(inputs, links, sessions).items():
        held = held_to(sessions[neighbour], claim)
        if held is None:
            del sessions[neighbour], import_policies[neighbour]
        else:
            sessions[neighbour] = held
    for adjacency in links:
        if adjacency.claim is not None:
            _add_leaf(inputs, router, adjacency, sessions, import_policies)
        else:
            _add_reflector(inputs, router, adjacency, sessions, import_policies)
    advertisements = _advertisements(inputs, router)
    owners = {neighbour: session.owner for neighbour, session in sessions.items()}
    return others | {
        "bgp/speakers": DesiredTable(
            values={router.name: _speaker(inputs, router)}, owners={router.name: router.ref}
        ),
        "bgp/import_policies": DesiredTable(values=import_policies, complete=links.complete, owners=owners),
        "bgp/sessions": DesiredTable(values=sessions, complete=links.complete, owners=owners),
        "bgp/advertisements": DesiredTable(
            values=advertisements, owners={prefix: each.owner for prefix, each in advertisements.items()}
        ),
    }


def _others(inputs: Inputs, router: Named[BGPRouterSpec] | None) -> dict[str, DesiredTable]:
    """Return what the protocols beside BGP announce: the same prefixes."""
    if not inputs.routings:
        return {}
    values = _advertisements(inputs, router)
    owners = {prefix: each.owner for prefix, each in values.items()}
    return {f"{kind}/advertisements": DesiredTable(values=values, owners=owners) for kind in inputs.routings}


def general_policy(inputs: Inputs) -> ImportPolicy:
    """Return what a protocol without neighbours may bring in: as much as a session without a policy.

    Without a pool the file says nothing of where fabric addresses lie; then all but forbidden prefixes enter.
    """
    router = inputs.intent.first(BGPRouterSpec)
    policy = _within(inputs, (router.spec.import_policy if router is not None else None) or PolicySpec())
    if policy.within:
        return policy
    return attrs.evolve(policy, within=frozenset({IPv4Network("0.0.0.0/0")}), min_length=1)


def _speaker(inputs: Inputs, router: Named[BGPRouterSpec]) -> Speaker:
    cluster: IPv4Address | None = None
    for dynamic in inputs.intent.of(BGPDynamicPeerSpec):
        cluster = cluster or dynamic.spec.route_reflector_cluster_id
    for peer in inputs.intent.of(BGPPeerSpec):
        cluster = cluster or peer.spec.route_reflector_cluster_id
    return Speaker(
        asn=router.spec.asn,
        router_id=router.spec.router_id,
        owner=router.ref,
        port=router.spec.listen.port,
        listen=router.spec.listen.address,
        cluster_id=cluster,
    )


def _static_session(router: Named[BGPRouterSpec], found: Named[BGPPeerSpec]) -> Session:
    spec = found.spec
    return Session(
        peer_asn=spec.peer_asn,
        owner=found.ref,
        passive=spec.passive_mode,
        route_reflector_client=spec.route_reflector_client,
        ebgp_multihop=spec.ebgp_multihop,
        timers=TIMER_PROFILES[(spec.timers or router.spec.timers).profile],
        password=spec.password,
    )


def _add_leaf(
    inputs: Inputs,
    router: Named[BGPRouterSpec],
    adjacency: Adjacency,
    sessions: dict[IPAddress, Session],
    import_policies: dict[IPAddress, ImportPolicy],
) -> None:
    """Add the passive session of an admitted leaf, which may announce only its claim's /32s."""
    claim = adjacency.claim
    dynamic = accepting(inputs, adjacency)
    if claim is None or dynamic is None:
        return
    spec = dynamic.spec
    session = Session(
        peer_asn=spec.peer_asn,
        owner=dynamic.ref,
        source=adjacency.local,
        passive=True,
        route_reflector_client=spec.route_reflector_client,
        ebgp_multihop=spec.ebgp_multihop,
        timers=TIMER_PROFILES[(spec.timers or router.spec.timers).profile],
        password=spec.password,
    )
    held = held_to(session, claim)
    if held is not None:
        sessions[adjacency.neighbour] = held
        policy = spec.import_policy or router.spec.import_policy
        import_policies[adjacency.neighbour] = _hosts(inputs, claim, policy)


def _claimed(
    inputs: Inputs, router: Named[BGPRouterSpec], links: Adjacencies
) -> dict[IPAddress, ImportPolicy]:
    """Return the filters of static peers that are admitted leaves: a claim's /32s before any pool.

    A leaf must not announce an address of another leaf, whatever the file says of the session.
    """
    inner = {adjacency.neighbour: adjacency.claim for adjacency in links}
    claims = [admitted.claim for admitted in inputs.active]
    result: dict[IPAddress, ImportPolicy] = {}
    for found in inputs.intent.of(BGPPeerSpec):
        bounds = found.spec.import_policy or router.spec.import_policy
        for neighbour in found.spec.peers:
            claim = inner.get(neighbour) or next((each for each in claims if _holds(each, neighbour)), None)
            if claim is not None:
                result[neighbour] = _hosts(inputs, claim, bounds)
    return result


def _holds(claim: Claim, address: IPAddress) -> bool:
    """Say whether packets to an address go to the leaf of a claim, or to a host behind it."""
    return is_own(claim, address) or any(address in prefix for prefix in claim.routed)


def _hosts(inputs: Inputs, claim: Claim, within: PolicySpec | None) -> ImportPolicy:
    """Return the filter that admits the /32s of a claim that the policies allow."""
    policy = inputs.policy_of(claim)
    allowed = pools(inputs.intent, policy.spec) if policy is not None else ()
    bounds = within.allowed_prefixes if within is not None else ()
    return ImportPolicy(
        hosts=frozenset(
            prefix
            for prefix in claim.owned
            if _inside(prefix, allowed) and (not bounds or _inside(prefix, bounds))
        ),
        forbidden=_forbidden(inputs, links_own=False),
        local_preference=REFLECTOR_PREFERENCE,
        required_communities=within.required_communities if within is not None else (),
        forbidden_communities=within.forbidden_communities if within is not None else (),
    )


def _add_reflector(
    inputs: Inputs,
    router: Named[BGPRouterSpec],
    adjacency: Adjacency,
    sessions: dict[IPAddress, Session],
    import_policies: dict[IPAddress, ImportPolicy],
) -> None:
    """Add the session of a leaf with a route reflector; the leaf always dials."""
    profile = adjacency.profile
    bgp = profile.spec.bgp
    if bgp is None or not bgp.generate_peers:
        return
    sessions[adjacency.neighbour] = Session(
        peer_asn=bgp.peer_asn,
        owner=profile.ref,
        source=adjacency.local,
        route_reflector_client=bgp.route_reflector_client,
        ebgp_multihop=bgp.ebgp_multihop,
        timers=_timers(profile, router),
        leaf=adjacency.peer,
    )
    import_policies[adjacency.neighbour] = _within(inputs, bgp.import_policy or router.spec.import_policy)


def _timers(profile: Named[SAMTransportProfileSpec], router: Named[BGPRouterSpec]) -> Timers:
    bgp = profile.spec.bgp
    if bgp is not None and bgp.timers_preset != "default":
        return TIMER_PROFILES[bgp.timers_preset]
    return TIMER_PROFILES[router.spec.timers.profile]


def _within(inputs: Inputs, policy: PolicySpec | None) -> ImportPolicy:
    # From the other leaves of our site: it is by these that we know which of us is active.
    shared = shared_prefixes(inputs)
    if policy is None:
        return ImportPolicy(hosts=shared, forbidden=_forbidden(inputs, links_own=True))
    prefixes = frozenset(policy.allowed_prefixes) or frozenset(
        pool.spec.prefix for pool in inputs.intent.of(MobilityPoolSpec)
    )
    return ImportPolicy(
        hosts=shared,
        within=prefixes,
        min_length=32 if policy.allowed_prefix_length_min is None else policy.allowed_prefix_length_min,
        max_length=32 if policy.allowed_prefix_length_max is None else policy.allowed_prefix_length_max,
        forbidden=_forbidden(inputs, links_own=True),
        next_hop="peer-address",
        local_preference=policy.local_preference,
        required_communities=policy.required_communities,
        forbidden_communities=policy.forbidden_communities,
    )


def _inside(prefix: IPNetwork, bounds: tuple[IPNetwork, ...] | frozenset[IPNetwork]) -> bool:
    return any(inside(prefix, bound) for bound in bounds)


def _forbidden(inputs: Inputs, *, links_own: bool) -> frozenset[IPNetwork]:
    """Return the prefixes that are never imported: tunnel addresses, our own /32s, our router ID."""
    forbidden = {profile.spec.inner_prefix for profile in inputs.intent.of(SAMTransportProfileSpec)}
    router = inputs.intent.first(BGPRouterSpec)
    if router is not None:
        forbidden.add(IPv4Network(router.spec.router_id))
    forbidden |= {host_prefix(address.spec.address.ip) for address in inputs.intent.of(IPv4StaticAddressSpec)}
    if links_own:
        forbidden |= own_prefixes(inputs) - shared_prefixes(inputs)
    return frozenset(forbidden)


def own_prefixes(inputs: Inputs) -> frozenset[IPNetwork]:
    """Return the host prefixes that this leaf claims."""
    return frozenset(prefix for claim in inputs.own_claim_list() for prefix in claim.owned)


def shared_prefixes(inputs: Inputs) -> frozenset[IPNetwork]:
    """Return the host prefixes that other leaves of this site may announce too."""
    claims = (claim for claim in inputs.own_claim_list() if claim.placement is not None)
    return frozenset(prefix for claim in claims for prefix in claim.owned)


def _advertisements(inputs: Inputs, router: Named[BGPRouterSpec] | None) -> dict[IPNetwork, Advertisement]:
    communities = frozenset(router.spec.communities.set.outbound) if router is not None else frozenset[str]()
    result: dict[IPNetwork, Advertisement] = {}
    for prefix, owner in _candidates(inputs, router) if router is not None else ():
        result.setdefault(prefix, Advertisement(owner=owner, communities=communities))
    for claim in inputs.own_claim_list():
        med = claim.placement.priority if claim.placement is not None else None
        for prefix in claim.owned:
            result[prefix] = Advertisement(owner=claim.ref, communities=communities, med=med)
    return result


def _candidates(inputs: Inputs, router: Named[BGPRouterSpec]) -> Iterator[tuple[IPNetwork, str]]:
    """Yield the connected and static prefixes of the file that are redistributed."""
    connected = router.spec.redistribute.connected.allowed_prefixes
    for address in inputs.intent.of(IPv4StaticAddressSpec):
        for prefix in (address.spec.address.network, host_prefix(address.spec.address.ip)):
            if _inside(prefix, connected):
                yield prefix, address.ref
                break
    static = router.spec.redistribute.static.allowed_prefixes
    for route in inputs.intent.of(IPv4StaticRouteSpec):
        if _inside(route.spec.destination, static):
            yield route.spec.destination, route.ref
