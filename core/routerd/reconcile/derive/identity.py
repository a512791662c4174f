"""The identity of a session's neighbour: its AS and router ID by the file and the claims."""

from collections.abc import Iterable

import attrs

from routerd.model.addresses import IPAddress
from routerd.model.claim import Claim
from routerd.model.intent import Named
from routerd.model.resource import Condition
from routerd.model.session import Session
from routerd.model.specs import BGPDynamicPeerSpec, BGPPeerSpec, BGPRouterSpec
from routerd.model.specs.leaves import acceptor
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.overlay import Adjacencies, Adjacency


def held_to(session: Session, claim: Claim) -> Session | None:
    """Return the session bound to the speaker of a claim; none when the two contradict."""
    if claim.asn not in (0, session.peer_asn):
        return None
    return attrs.evolve(session, peer_router_id=claim.router_host, leaf=claim.leaf_id, claim=claim.ref)


def accepting(inputs: Inputs, adjacency: Adjacency) -> Named[BGPDynamicPeerSpec] | None:
    """Return the dynamic peer whose source prefixes hold the neighbour or the claim's address."""
    candidates = [adjacency.neighbour]
    if adjacency.claim is not None:
        candidates.append(adjacency.claim.tunnel_host)
    return acceptor(inputs.intent.of(BGPDynamicPeerSpec), candidates)


def leaves_among(
    inputs: Inputs, links: Adjacencies, neighbours: Iterable[IPAddress]
) -> dict[IPAddress, Claim]:
    """Return the static neighbours that are the speaker of an admitted leaf, with its claim.

    A router that a claim places behind the leaf is another speaker than the leaf's.
    """
    inner = {adjacency.neighbour: adjacency.claim for adjacency in links}
    claims = [admitted.claim for admitted in inputs.active]
    found: dict[IPAddress, Claim] = {}
    for neighbour in neighbours:
        claim = inner.get(neighbour) or next((each for each in claims if is_own(each, neighbour)), None)
        if claim is not None:
            found[neighbour] = claim
    return found


def is_own(claim: Claim, address: IPAddress) -> bool:
    """Say whether an address is one of the leaf's own."""
    return address in (claim.tunnel_host, claim.endpoint_host)


def conditions(inputs: Inputs, links: Adjacencies) -> dict[str, tuple[Condition, ...]]:
    """Return a note for each admitted leaf without a session, by the resource that denies it."""
    if inputs.intent.first(BGPRouterSpec) is None:
        return {}
    given: set[IPAddress] = set()
    denied: dict[IPAddress, tuple[str, Condition]] = {}

    def judge(neighbour: IPAddress, claim: Claim, ref: str, asn: int) -> None:
        if claim.asn in (0, asn):
            given.add(neighbour)
            return
        message = (
            f"{claim.leaf_id}: {claim.ref} has bgp.asn {claim.asn}, and {ref} allows only peerASN {asn}; "
            "it gets no session"
        )
        denied.setdefault(neighbour, (ref, _no_session("ASNNotAllowed", message)))

    for found in inputs.intent.of(BGPPeerSpec):
        leaves = leaves_among(inputs, links, found.spec.peers)
        given |= set(found.spec.peers) - leaves.keys()
        for neighbour, claim in leaves.items():
            judge(neighbour, claim, found.ref, found.spec.peer_asn)
    for adjacency in links:
        if adjacency.claim is None:
            continue
        dynamic = accepting(inputs, adjacency)
        if dynamic is not None:
            judge(adjacency.neighbour, adjacency.claim, dynamic.ref, dynamic.spec.peer_asn)
            continue
        message = f"{adjacency.peer}: no BGPDynamicPeer has {adjacency.neighbour} in its sourcePrefixes"
        note = _no_session("NoDynamicPeer", message)
        denied.setdefault(adjacency.neighbour, (adjacency.profile.ref, note))
    result: dict[str, tuple[Condition, ...]] = {}
    for neighbour, (ref, note) in denied.items():
        if neighbour not in given:
            result[ref] = (*result.get(ref, ()), note)
    return result


def _no_session(reason: str, message: str) -> Condition:
    return Condition(type="Sessions", status="False", reason=reason, message=message)
