"""What a configuration says of leaves and peers: one function for each question.

Admission asks when a leaf claims something, derivation when it makes tables of it; both get the
same answer. What the policy itself demands of a claim is in `admission`.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs

from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.claim import AdmittedClaim, Claim, Reflector
from routerd.model.intent import Intent, Named
from routerd.model.names import Ref
from routerd.model.specs.common import PeerSource
from routerd.model.specs.enrollment import SAMEnrollmentPolicySpec
from routerd.model.specs.mobility import MobilityPoolSpec, NodeSpec, SAMNodeSetSpec, SAMTransportProfileSpec
from routerd.model.specs.net import BGPDynamicPeerSpec


@attrs.frozen(kw_only=True)
class Member:
    """A router that a source of peers names: an admitted leaf, a reflector, or a node of the file."""

    node: str
    claim: Claim | None = None
    reflector: Reflector | None = None
    listed: NodeSpec | None = None


class Known(Protocol):
    """What is known of the fabric; the inputs of derivation are one."""

    @property
    def intent(self) -> Intent:
        """Return the configuration."""

    @property
    def active(self) -> Sequence[AdmittedClaim]:
        """Return the admitted claims that hold, the oldest first."""

    def reflectors(self, rr_set: str) -> tuple[Reflector, ...] | None:
        """Return the route reflectors of a set, or none while it is not known."""


def members(source: PeerSource, known: Known) -> tuple[Member, ...] | None:
    """Return the routers that a source of peers gives, or none while the source is not known."""
    ref, intent = Ref.parse(source.resource), known.intent
    found: Iterable[Member] | None = None
    if ref.kind == "SAMEnrollmentPolicy" and intent.get(ref.name, SAMEnrollmentPolicySpec) is not None:
        claims = (admitted.claim for admitted in known.active)
        found = (Member(node=claim.leaf_id, claim=claim) for claim in claims if joins(claim, ref.name))
    elif ref.kind == "SAMRRSet" and (reflectors := known.reflectors(ref.name)) is not None:
        found = (Member(node=each.node, reflector=each) for each in reflectors)
    elif ref.kind == "SAMNodeSet" and (nodes := intent.get(ref.name, SAMNodeSetSpec)) is not None:
        found = (Member(node=each.node_ref.strip(), listed=each) for each in nodes.spec.nodes)
    return None if found is None else tuple(each for each in found if source.takes(each.node))


def joins(claim: Claim, policy: str) -> bool:
    """Say whether a claim names the policy of that name."""
    ref = Ref.parse(claim.policy_ref)
    return ref.name == policy and ref.may_be("SAMEnrollmentPolicy")


def pools(intent: Intent, policy: SAMEnrollmentPolicySpec) -> tuple[IPNetwork, ...]:
    """Return the prefixes in which a policy lets leaves own addresses."""
    named = (intent.get(ref, MobilityPoolSpec) for ref in policy.mobility_pool_refs)
    return (*policy.mobility_prefixes, *(pool.spec.prefix for pool in named if pool is not None))


def acceptor(
    peers: Iterable[Named[BGPDynamicPeerSpec]], addresses: Iterable[IPAddress]
) -> Named[BGPDynamicPeerSpec] | None:
    """Return the first dynamic peer that takes a session from one of some addresses."""
    candidates = tuple(addresses)
    for found in peers:
        if any(address in prefix for prefix in found.spec.listen.source_prefixes for address in candidates):
            return found
    return None


def self_node(intent: Intent, profile: SAMTransportProfileSpec) -> str:
    """Return the name of this router in a transport profile."""
    return (profile.self_node_ref or intent.node).strip()
