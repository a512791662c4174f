"""Which /31 of which transport profile a leaf's link takes on this router, and who has it already.

Both ends compute the same slot by a hash, so a collision cannot be moved out of the way: it can
only be refused, at admission, before it reaches any tunnel.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

import attrs

from routerd.model.intent import Intent, Named
from routerd.model.names import pair_slot
from routerd.model.specs import (
    SAMEnrollmentPolicySpec,
    SAMNodeSetSpec,
    SAMRRSetSpec,
    SAMTransportProfileSpec,
)

Profile = Named[SAMTransportProfileSpec]


@attrs.frozen(kw_only=True)
class Slot:
    """A /31 of a profile, named by its `Kind/name`; `own` is this router's name in it."""

    profile: str
    own: str
    network: IPv4Network


@attrs.frozen(kw_only=True)
class SlotSpace:
    """The /31s of a profile, from which a leaf takes the one of its pair with this router."""

    profile: str
    own: str
    prefix: IPv4Network

    def slot(self, node: str) -> Slot:
        """Return the slot of a node."""
        base = int(self.prefix.network_address) + 2 * pair_slot(self.prefix, self.own, node)
        return Slot(profile=self.profile, own=self.own, network=IPv4Network((base, 31)))


def slot_spaces(intent: Intent, policy: Named[SAMEnrollmentPolicySpec]) -> Iterator[SlotSpace]:
    """Yield the spaces in which a leaf takes a slot by being admitted under a policy."""
    for profile in _fed_by(intent, policy):
        yield _space(intent, profile)


def static_slots(intent: Intent) -> dict[IPv4Network, str]:
    """Return the slots of nodes that stand in the file, and which node has each."""
    holders: dict[IPv4Network, str] = {}
    for profile in _pair_stable(intent):
        space = _space(intent, profile)
        for node in _static_nodes(intent, profile):
            if node != space.own:
                holders.setdefault(space.slot(node).network, node)
    return holders


def _space(intent: Intent, profile: Profile) -> SlotSpace:
    own = (profile.spec.self_node_ref or intent.node).strip()
    return SlotSpace(profile=profile.ref, own=own, prefix=profile.spec.inner_prefix)


def _pair_stable(intent: Intent) -> Iterator[Profile]:
    for profile in intent.of(SAMTransportProfileSpec):
        if profile.spec.addressing_mode == "pair-stable":
            yield profile


def _fed_by(intent: Intent, policy: Named[SAMEnrollmentPolicySpec]) -> Iterator[Profile]:
    for profile in _pair_stable(intent):
        sources = {source.resource.strip() for source in profile.spec.peers_from}
        if policy.ref in sources or policy.spec.transport_profile_ref.rpartition("/")[2] == profile.name:
            yield profile


def _static_nodes(intent: Intent, profile: Profile) -> Iterator[str]:
    for source in profile.spec.peers_from:
        kind = source.resource.rpartition("/")[0]
        nodes: list[str] = []
        if kind == "SAMNodeSet":
            node_set = intent.get(source.resource, SAMNodeSetSpec)
            nodes = [node.node_ref for node in node_set.spec.nodes] if node_set else []
        elif kind == "SAMRRSet":
            rr_set = intent.get(source.resource, SAMRRSetSpec)
            nodes = [member.node_ref for member in rr_set.spec.members] if rr_set else []
        yield from (node for node in nodes if not source.node_refs or node in source.node_refs)
