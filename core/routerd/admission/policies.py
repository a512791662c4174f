"""What each enrollment policy asks of a claim, looked up once for a configuration.

A policy refers to a profile, pools and a device; claims come by the hundred a second, and finding
those again for each would cost more than judging it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd.admission.link_slots import Slot, SlotSpace, slot_spaces, static_slots
from routerd.errors import EnrollmentRefused
from routerd.model.claim import Claim
from routerd.model.intent import Intent, Named
from routerd.model.names import LinkName
from routerd.model.specs import (
    BGPDynamicPeerSpec,
    BGPRouterSpec,
    IPv4StaticAddressSpec,
    MobilityPoolSpec,
    SAMEnrollmentPolicySpec,
    SAMTransportProfileSpec,
)


@attrs.frozen(kw_only=True)
class Site:
    """A placement group: the policy that allows it, and its name there."""

    policy: str
    group: str


@attrs.frozen(kw_only=True)
class Terms:
    """A policy with all that it refers to.

    `pools` are the prefixes in which addresses may be claimed; `encrypted` names the profile that
    needs a WireGuard key, else it is empty; `device` is the WireGuard interface of the leaves.
    `groups` gives, for each site with several leaves, the leaf IDs that belong to it.
    """

    policy: Named[SAMEnrollmentPolicySpec]
    leaf_ids: re.Pattern[str] | None
    pools: tuple[IPv4Network, ...]
    profile: str
    encrypted: str
    device: LinkName | None
    spaces: tuple[SlotSpace, ...]
    groups: Mapping[str, re.Pattern[str]]

    def slots(self, leaf: str) -> tuple[Slot, ...]:
        """Return the /31s that a leaf takes by being admitted."""
        return tuple(space.slot(leaf) for space in self.spaces)

    def site(self, claim: Claim) -> Site | None:
        """Return the site whose addresses a claim shares, none when it shares none."""
        if claim.placement is None:
            return None
        return Site(policy=self.policy.name, group=claim.placement.group.strip())


@attrs.frozen(kw_only=True)
class Acceptor:
    """A `BGPDynamicPeer`: from which addresses it takes sessions, and of which AS."""

    ref: str
    prefixes: tuple[IPv4Network, ...]
    asn: int


@attrs.frozen(kw_only=True)
class House:
    """The rules of this router: its policies by name, and what is its own and no leaf's."""

    intent: Intent
    policies: Mapping[str, Terms]
    router_ids: Mapping[IPv4Address, str]
    addresses: Mapping[IPv4Address, str]
    acceptors: tuple[Acceptor, ...]
    slots: Mapping[IPv4Network, str]

    def find(self, claim: Claim) -> Terms | None:
        """Return the terms of the policy that a claim names, if this router has it."""
        kind, _, name = claim.policy_ref.strip().rpartition("/")
        return self.policies.get(name) if kind in ("", "SAMEnrollmentPolicy") else None

    def acceptor(self, addresses: Iterable[IPv4Address]) -> Acceptor | None:
        """Return the dynamic peer that takes a session from one of some addresses."""
        candidates = tuple(addresses)
        for found in self.acceptors:
            if any(address in prefix for prefix in found.prefixes for address in candidates):
                return found
        return None

    def terms(self, claim: Claim) -> Terms:
        """Return the terms of a claim's policy; refused with `policy-unknown` when there is none."""
        found = self.find(claim)
        if found is None:
            known = ", ".join(terms.policy.ref for terms in self.policies.values()) or "none"
            raise EnrollmentRefused(
                "policy-unknown",
                f"claim {claim.name}: this router has no policy {claim.policy_ref.strip()} (it has: {known})",
            )
        return found


def house(intent: Intent) -> House:
    """Return the rules that a configuration makes."""
    return House(
        intent=intent,
        policies={found.name: _terms(intent, found) for found in intent.of(SAMEnrollmentPolicySpec)},
        router_ids={found.spec.router_id: found.ref for found in intent.of(BGPRouterSpec)},
        addresses={found.spec.address.ip: found.ref for found in intent.of(IPv4StaticAddressSpec)},
        acceptors=tuple(
            Acceptor(ref=found.ref, prefixes=found.spec.listen.source_prefixes, asn=found.spec.peer_asn)
            for found in intent.of(BGPDynamicPeerSpec)
        ),
        slots=static_slots(intent),
    )


def _terms(intent: Intent, policy: Named[SAMEnrollmentPolicySpec]) -> Terms:
    spec = policy.spec
    profile = intent.get(spec.transport_profile_ref, SAMTransportProfileSpec)
    return Terms(
        policy=policy,
        leaf_ids=re.compile(spec.allowed_leaf_ids.pattern) if spec.allowed_leaf_ids is not None else None,
        pools=tuple(_pools(intent, spec)),
        profile=spec.transport_profile_ref.strip().rpartition("/")[2],
        encrypted=profile.ref if profile is not None and profile.spec.encrypted else "",
        device=LinkName(spec.wire_guard.interface) if spec.wire_guard is not None else None,
        spaces=tuple(slot_spaces(intent, policy)),
        groups={each.name: re.compile(each.allowed_leaf_ids.pattern) for each in spec.placement_groups},
    )


def _pools(intent: Intent, spec: SAMEnrollmentPolicySpec) -> Iterator[IPv4Network]:
    yield from spec.mobility_prefixes
    for ref in spec.mobility_pool_refs:
        pool = intent.get(ref, MobilityPoolSpec)
        if pool is not None:
            yield pool.spec.prefix
