"""What each enrollment policy asks of a claim, resolved once for a configuration.

A policy refers to a profile, pools and a device. Claims come by the hundred a second; resolving
the references for each of them would cost more than judging it.
"""

import re
from collections.abc import Mapping

import attrs

from routerd.errors import EnrollmentRefused
from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.claim import Claim
from routerd.model.intent import Intent, Named
from routerd.model.names import LinkName, Ref
from routerd.model.specs import (
    BGPDynamicPeerSpec,
    BGPRouterSpec,
    IPv4StaticAddressSpec,
    SAMEnrollmentPolicySpec,
    SAMTransportProfileSpec,
)
from routerd.model.specs.leaves import joins, pools
from routerd.model.specs.link_slots import Slot, SlotSpace, slot_spaces, static_slots


@attrs.frozen(kw_only=True)
class Site:
    """A placement group: the policy that allows it, and its name there."""

    policy: str
    group: str


@attrs.frozen(kw_only=True)
class ResolvedPolicy:
    """A policy with all that it refers to.

    `pools` are the prefixes in which leaves may own addresses. `encrypted` names the profile that
    needs a WireGuard key, else it is empty. `device` is the WireGuard interface of the leaves.
    `groups` gives, for each site with several leaves, the leaf IDs that belong to it.
    """

    policy: Named[SAMEnrollmentPolicySpec]
    leaf_ids: re.Pattern[str] | None
    pools: tuple[IPNetwork, ...]
    profile: str
    encrypted: str
    device: LinkName | None
    spaces: tuple[SlotSpace, ...]
    groups: Mapping[str, re.Pattern[str]]

    def slots(self, leaf: str) -> tuple[Slot, ...]:
        """Return the /31s that a leaf takes when it is admitted."""
        return tuple(space.slot(leaf) for space in self.spaces)

    def site(self, claim: Claim) -> Site | None:
        """Return the site whose addresses a claim shares, none when it shares none."""
        if claim.placement is None:
            return None
        return Site(policy=self.policy.name, group=claim.placement.group)


@attrs.frozen(kw_only=True)
class ReflectorRules:
    """The rules of this router: its policies by name, and what belongs to the router itself."""

    intent: Intent
    policies: Mapping[str, ResolvedPolicy]
    router_ids: Mapping[IPAddress, str]
    addresses: Mapping[IPAddress, str]
    dynamic_peers: tuple[Named[BGPDynamicPeerSpec], ...]
    slots: Mapping[IPNetwork, str]

    def find(self, claim: Claim) -> ResolvedPolicy | None:
        """Return the policy that a claim names, if this router has it."""
        found = self.policies.get(Ref.parse(claim.policy_ref).name)
        return found if found is not None and joins(claim, found.policy.name) else None

    def named(self, ref: str, who: str) -> ResolvedPolicy:
        """Return the policy `ref`; refused with `policy-unknown` when there is none; `who` asks."""
        parsed = Ref.parse(ref)
        found = self.policies.get(parsed.name) if parsed.may_be("SAMEnrollmentPolicy") else None
        if found is None:
            raise self._unknown(ref, who)
        return found

    def policy(self, claim: Claim) -> ResolvedPolicy:
        """Return the policy that a claim names; refused with `policy-unknown` when there is none."""
        found = self.find(claim)
        if found is None:
            raise self._unknown(claim.policy_ref, f"claim {claim.name}")
        return found

    def _unknown(self, ref: str, who: str) -> EnrollmentRefused:
        known = ", ".join(each.policy.ref for each in self.policies.values()) or "none"
        return EnrollmentRefused("policy-unknown", f"{who}: no policy {ref} on this router; it has {known}")


def rules_of(intent: Intent) -> ReflectorRules:
    """Return the rules of a configuration."""
    return ReflectorRules(
        intent=intent,
        policies={found.name: _resolved(intent, found) for found in intent.of(SAMEnrollmentPolicySpec)},
        router_ids={found.spec.router_id: found.ref for found in intent.of(BGPRouterSpec)},
        addresses={found.spec.address.ip: found.ref for found in intent.of(IPv4StaticAddressSpec)},
        dynamic_peers=tuple(intent.of(BGPDynamicPeerSpec)),
        slots=static_slots(intent),
    )


def _resolved(intent: Intent, policy: Named[SAMEnrollmentPolicySpec]) -> ResolvedPolicy:
    spec = policy.spec
    profile = intent.get(spec.transport_profile_ref, SAMTransportProfileSpec)
    return ResolvedPolicy(
        policy=policy,
        leaf_ids=re.compile(spec.allowed_leaf_ids.pattern) if spec.allowed_leaf_ids is not None else None,
        pools=pools(intent, spec),
        profile=Ref.parse(spec.transport_profile_ref).name,
        encrypted=profile.ref if profile is not None and profile.spec.encrypted else "",
        device=LinkName(spec.wire_guard.interface) if spec.wire_guard is not None else None,
        spaces=tuple(slot_spaces(intent, policy)),
        groups={each.name: re.compile(each.allowed_leaf_ids.pattern) for each in spec.placement_groups},
    )
