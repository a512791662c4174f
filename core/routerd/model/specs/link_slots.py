"""The /31s that links of this router take: one for each pair of routers in a transport profile.

Both ends compute the same slot by a hash, so neither can evade a collision. Admission refuses it
before it reaches a tunnel.
"""

from collections.abc import Iterator

import attrs

from routerd.model.addresses import IPNetwork
from routerd.model.claim import Reflector
from routerd.model.intent import Intent, Named
from routerd.model.names import Ref, pair_slot, slot_network
from routerd.model.specs import SAMEnrollmentPolicySpec, SAMTransportProfileSpec
from routerd.model.specs.leaves import members, self_node
from routerd.model.specs.rr_set import static_reflectors

Profile = Named[SAMTransportProfileSpec]


@attrs.frozen(kw_only=True)
class Slot:
    """A /31 of a profile, named by its `Kind/name`; `own` is this router's name in it."""

    profile: str
    own: str
    network: IPNetwork


@attrs.frozen(kw_only=True)
class SlotSpace:
    """The /31s of a profile, from which a leaf takes the one of its pair with this router."""

    profile: str
    own: str
    prefix: IPNetwork

    def slot(self, node: str) -> Slot:
        """Return the slot of a node."""
        network = slot_network(self.prefix, pair_slot(self.prefix, self.own, node))
        return Slot(profile=self.profile, own=self.own, network=network)


def slot_spaces(intent: Intent, policy: Named[SAMEnrollmentPolicySpec]) -> Iterator[SlotSpace]:
    """Yield the spaces in which a leaf takes a slot by being admitted under a policy."""
    for profile in _fed_by(intent, policy):
        yield _space(intent, profile)


def static_slots(intent: Intent) -> dict[IPNetwork, str]:
    """Return the slots of routers that the file names, and which router has each."""
    holders: dict[IPNetwork, str] = {}
    known = _File(intent)
    for profile in _pair_stable(intent):
        space = _space(intent, profile)
        for source in profile.spec.peers_from:
            for member in members(source, known) or ():
                if member.node != space.own:
                    holders.setdefault(space.slot(member.node).network, member.node)
    return holders


class _File:
    """What the file alone says of the fabric: no leaf has been admitted, no set fetched."""

    active = ()

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self._reflectors = static_reflectors(intent)

    def reflectors(self, rr_set: str) -> tuple[Reflector, ...] | None:
        return self._reflectors.get(rr_set)


def _space(intent: Intent, profile: Profile) -> SlotSpace:
    own = self_node(intent, profile.spec)
    return SlotSpace(profile=profile.ref, own=own, prefix=profile.spec.inner_prefix)


def _pair_stable(intent: Intent) -> Iterator[Profile]:
    for profile in intent.of(SAMTransportProfileSpec):
        if profile.spec.addressing_mode == "pair-stable":
            yield profile


def _fed_by(intent: Intent, policy: Named[SAMEnrollmentPolicySpec]) -> Iterator[Profile]:
    for profile in _pair_stable(intent):
        sources = {source.resource for source in profile.spec.peers_from}
        if policy.ref in sources or Ref.parse(policy.spec.transport_profile_ref).name == profile.name:
            yield profile
