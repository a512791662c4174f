"""Whether a claim may join: the rules of admission, pure and in one order.

The proof itself is the join method's; here is everything else. A refusal names what is wrong,
with which value, and who holds it already. Rules that go beyond those of existing programs are
marked; they only refuse what could not have worked, or what would have harmed another leaf.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd.errors import EnrollmentRefused
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.intent import Intent, Named
from routerd.model.specs import (
    BGPRouterSpec,
    IPv4StaticAddressSpec,
    MobilityPoolSpec,
    SAMEnrollmentPolicySpec,
    SAMTransportProfileSpec,
)
from routerd.reconcile.claim_form import check_form, parse_time
from routerd.reconcile.slots import slot_holders, slots_of
from routerd.store.records import Revocation, UsedNonce

DEFAULT_LIFE = timedelta(minutes=5)
"""How long a claim holds when neither it nor its policy says so."""


@attrs.frozen(kw_only=True)
class Ledger:
    """What was admitted and refused before, as far as it concerns one claim.

    `admitted` are all admitted claims, ended ones too; `nonce` is who used the claim's nonce;
    `revocations` are those of the claim's leaf under its policy.
    """

    admitted: tuple[AdmittedClaim, ...] = ()
    nonce: UsedNonce | None = None
    revocations: tuple[Revocation, ...] = ()


def policy_for(claim: Claim, intent: Intent) -> Named[SAMEnrollmentPolicySpec]:
    """Return the policy that a claim names; refused with `policy-unknown` when there is none."""
    kind, _, name = claim.policy_ref.strip().rpartition("/")
    if kind in ("", "SAMEnrollmentPolicy"):
        for found in intent.of(SAMEnrollmentPolicySpec):
            if found.name == name:
                return found
    known = ", ".join(found.ref for found in intent.of(SAMEnrollmentPolicySpec)) or "none"
    raise EnrollmentRefused(
        "policy-unknown",
        f"claim {claim.name}: this router has no policy {claim.policy_ref.strip()} (it has: {known})",
    )


def admit(claim: Claim, intent: Intent, ledger: Ledger, *, fingerprint: str, now: datetime) -> AdmittedClaim:
    """Return the claim as admitted, or raise `EnrollmentRefused`.

    `fingerprint` identifies what was signed, proof included: the same one again under the same
    name is the same claim, and is admitted again without a change.
    """
    check_form(claim)
    policy = policy_for(claim, intent)
    candidate = _Candidate(
        claim=claim, intent=intent, policy=policy, ledger=ledger, fingerprint=fingerprint, now=now
    )
    previous = candidate.previous()
    candidate.check_policy()
    candidate = candidate.lasting(previous)
    end = candidate.end()
    candidate.check_history(previous)
    candidate.check_holders()
    candidate.check_slots()
    admitted_at = previous.admitted_at if previous is not None and previous.active(now) else now
    return AdmittedClaim(claim=candidate.claim, admitted_at=admitted_at, expires_at=end)


@attrs.frozen(kw_only=True)
class _Candidate:
    """One claim with everything it is judged by."""

    claim: Claim
    intent: Intent
    policy: Named[SAMEnrollmentPolicySpec]
    ledger: Ledger
    fingerprint: str
    now: datetime

    def previous(self) -> AdmittedClaim | None:
        """Return what was admitted under the same name, also when it has ended."""
        return next((found for found in self.ledger.admitted if found.claim.name == self.claim.name), None)

    def repeated(self) -> bool:
        """Say whether this very claim was admitted under its name before."""
        nonce, previous = self.ledger.nonce, self.previous()
        if previous is None:
            return False
        if self.claim.join_nonce.strip():
            return (
                nonce is not None
                and nonce.fingerprint == self.fingerprint
                and _nonce(previous) == self.claim.join_nonce.strip()
            )
        return attrs.evolve(previous.claim, expires_at="", revoked=False) == attrs.evolve(
            self.claim, expires_at=""
        )

    # --- what the policy allows ------------------------------------------------------------------

    def check_policy(self) -> None:
        """Check the claim against its policy."""
        claim, spec, ref = self.claim, self.policy.spec, self.policy.ref
        leaf = claim.leaf_id.strip()
        allowed = spec.allowed_leaf_ids
        if allowed is not None and re.search(allowed.pattern, leaf) is None:
            self._refuse("leaf-id-not-allowed", f"{ref} allows no leafID {leaf} (pattern {allowed.pattern})")
        if spec.rr_set_ref is not None and _name(claim.rr_set_ref) != _name(spec.rr_set_ref):
            got = claim.rr_set_ref.strip() or "empty"
            self._refuse("rr-set-mismatch", f"rrSetRef is {got}, and {ref} serves {spec.rr_set_ref}")
        if spec.join_token_from is not None and spec.join_audience:
            audience = claim.join_audience.strip()
            if audience != spec.join_audience.strip():
                self._refuse(
                    "join-audience-mismatch",
                    f"joinAudience is {audience or 'empty'}, and {ref} expects {spec.join_audience.strip()}",
                )
        if claim.direct_mesh and spec.direct_mesh is None:
            self._refuse("direct-mesh-not-allowed", f"{ref} has no directMesh.peerGroupRef")
        self._inside(
            "tunnel-address-outside", "tunnelAddress", claim.tunnel_host, spec.tunnel_address_prefixes
        )
        if claim.endpoint.strip() and spec.endpoint_prefixes:
            self._inside("endpoint-outside", "endpoint", claim.endpoint_host, spec.endpoint_prefixes)
        for owned in sorted(claim.owned):
            self._inside(
                "owned-address-outside",
                "mobility.ownedAddresses",
                owned.network_address,
                tuple(self._pools()),
            )
        self._check_wireguard()

    def _check_wireguard(self) -> None:
        spec, wireguard = self.policy.spec, self.claim.wireguard
        profile = self.intent.get(spec.transport_profile_ref, SAMTransportProfileSpec)
        if wireguard is None:
            if profile is not None and profile.spec.encrypted:
                # Ours: without a key no tunnel of this profile can come up.
                self._refuse("wireguard-key-required", f"wireGuard.publicKey is required by {profile.ref}")
            return
        terms = spec.wire_guard
        endpoint = wireguard.udp_endpoint
        prefixes = (terms.endpoint_prefixes if terms else ()) or spec.endpoint_prefixes
        if endpoint is not None and prefixes:
            self._inside("wireguard-endpoint-outside", "wireGuard.endpoint", endpoint.address, prefixes)
        extra = terms.allowed_extra_ip_prefixes if terms else ()
        for network in sorted(wireguard.allowed):
            if network != IPv4Network(self.claim.tunnel_host) and not any(
                network.subnet_of(prefix) for prefix in extra
            ):
                self._refuse(
                    "wireguard-allowed-ips-outside",
                    f"wireGuard.allowedIPs {network} is outside of {_listed(extra)} of {self.policy.ref}",
                )

    def _pools(self) -> Iterator[IPv4Network]:
        yield from self.policy.spec.mobility_prefixes
        for ref in self.policy.spec.mobility_pool_refs:
            pool = self.intent.get(ref, MobilityPoolSpec)
            if pool is not None:
                yield pool.spec.prefix

    def _inside(
        self, reason: str, field: str, address: IPv4Address, prefixes: tuple[IPv4Network, ...]
    ) -> None:
        if not any(address in prefix for prefix in prefixes):
            self._refuse(reason, f"{field} {address} is outside of {_listed(prefixes)} of {self.policy.ref}")

    # --- how long ----------------------------------------------------------------------------------

    def lasting(self, previous: AdmittedClaim | None) -> _Candidate:
        """Return the claim with the later end of itself and of what was admitted with the same proof.

        The end is not signed: whoever overheard a claim could send it again to cut it short.
        """
        if previous is None or not self.repeated():
            return self
        earlier = attrs.evolve(self, claim=attrs.evolve(self.claim, expires_at=previous.claim.expires_at))
        return earlier if earlier.true_end() > self.true_end() else self

    def end(self) -> datetime:
        """Return when the claim really ends; refused when that is past."""
        asked, limit = self._asked(), self._limit()
        if asked is not None and limit is not None and self._signed_at() is not None and asked > limit:
            self._refuse(
                "expires-at-exceeds-ttl",
                f"expiresAt {self.claim.expires_at.strip()} is later than joinTimestamp and the ttl of "
                f"{self.policy.ref} allow ({limit.isoformat()})",
            )
        end = self.true_end()
        if end <= self.now:
            self._refuse(
                "claim-expired", f"it ended at {end.isoformat()}; sign it again with a new joinTimestamp"
            )
        return end

    def true_end(self) -> datetime:
        """Return the earlier of what the claim asks for and what its policy allows."""
        ends = [moment for moment in (self._asked(), self._limit()) if moment is not None]
        return min(ends) if ends else self.now + DEFAULT_LIFE

    def _signed_at(self) -> datetime | None:
        claim = self.claim
        return parse_time(claim, "joinTimestamp", claim.join_timestamp, "join-timestamp-invalid")

    def _asked(self) -> datetime | None:
        return parse_time(self.claim, "expiresAt", self.claim.expires_at, "expires-at-invalid")

    def _limit(self) -> datetime | None:
        ttl = self.policy.spec.ttl
        if ttl is None:
            return None
        try:
            return (self._signed_at() or self.now) + ttl
        except OverflowError:
            return None

    # --- what was before -----------------------------------------------------------------------------

    def check_history(self, previous: AdmittedClaim | None) -> None:
        """Check the claim against its own past: revocation, replay, and who its name belongs to."""
        claim = self.claim
        nonce, leaf = claim.join_nonce.strip(), claim.leaf_id.strip()
        signed_at = self._signed_at()
        for revocation in self.ledger.revocations:
            # Ours: what was signed before the revocation cannot undo it, whatever its nonce.
            if revocation.nonce == nonce or (signed_at is not None and signed_at <= revocation.revoked_at):
                self._refuse(
                    "claim-revoked",
                    f"leaf {leaf} was revoked at {revocation.revoked_at.isoformat()}"
                    + (f" ({revocation.reason})" if revocation.reason else "")
                    + "; sign a new claim with a new nonce, if it may come back",
                )
        used = self.ledger.nonce
        if nonce and used is not None and not self.repeated():
            self._refuse(
                "join-nonce-used",
                f"joinNonce was used by leaf {used.leaf_id} before; sign the claim with a new nonce",
            )
        if previous is not None and not self.repeated():
            self._check_replacement(previous, signed_at)

    def _check_replacement(self, previous: AdmittedClaim, signed_at: datetime | None) -> None:
        claim, old = self.claim, previous.claim
        holder = old.leaf_id.strip()
        if holder != claim.leaf_id.strip():
            self._refuse("claim-name-taken", f"the name belongs to leaf {holder}; use another metadata.name")
        before = parse_time(old, "joinTimestamp", old.join_timestamp, "join-timestamp-invalid")
        if before is not None and (signed_at is None or signed_at <= before):
            self._refuse(
                "join-timestamp-not-newer",
                f"joinTimestamp {claim.join_timestamp.strip() or 'is empty and'} is not newer than "
                f"{old.join_timestamp.strip()} of the claim it would replace",
            )
        # Ours: where nothing is signed, the key is all that tells a leaf from an impostor.
        if signed_at is None and previous.active(self.now) and _key(old) and _key(old) != _key(claim):
            self._refuse(
                "wireguard-key-changed",
                "a claim without joinTimestamp cannot change its WireGuard key while the old one holds",
            )

    # --- what others hold -----------------------------------------------------------------------------

    def others(self) -> tuple[Claim, ...]:
        """Return the claims that hold now, of all policies, without the one of the same name."""
        return tuple(
            found.claim
            for found in self.ledger.admitted
            if found.active(self.now) and found.claim.name != self.claim.name
        )

    def check_holders(self) -> None:
        """Check that nobody else holds what the claim asks for, under any policy."""
        claim = self.claim
        leaf = claim.leaf_id.strip()
        self._check_own()
        for other in self.others():
            if other.leaf_id.strip() == leaf:
                self._taken("leaf-id-taken", f"leafID {leaf}", other, by_name=True)
            if claim.router_id.strip() and claim.router_id.strip() == other.router_id.strip():
                self._taken("router-id-taken", f"bgp.routerID {claim.router_id.strip()}", other)
            if _key(claim) and _key(claim) == _key(other):
                self._taken("wireguard-key-taken", f"wireGuard.publicKey {_key(claim)}", other)
            self._check_addresses(other)
            same_profile = self._profile_of(other) == _name(self.policy.spec.transport_profile_ref)
            if same_profile and claim.endpoint_host == other.endpoint_host:
                # Ours: two tunnels of one kind to one address are one tunnel to the kernel.
                self._taken("endpoint-taken", f"endpoint {claim.endpoint_host}", other)

    def _check_addresses(self, other: Claim) -> None:
        held = {address: what for what, address in _addresses(other)}
        for what, address in _addresses(self.claim):
            if address in held:
                reason = "tunnel-address-taken" if what == "tunnelAddress" else "owned-address-taken"
                self._taken(reason, f"{what} {address}", other)
        for mine in _inner(self.claim):
            for theirs in _inner(other) if self._same_device(other) else ():
                if mine.overlaps(theirs):
                    # Ours: WireGuard gives an address to the last peer that asks for it.
                    self._taken("wireguard-allowed-ips-taken", f"wireGuard.allowedIPs {mine}", other)

    def _check_own(self) -> None:
        """Check that the claim asks for nothing that is this router's own (ours)."""
        claim = self.claim
        for router in self.intent.of(BGPRouterSpec):
            if claim.router_id.strip() == str(router.spec.router_id):
                self._refuse("router-id-taken", f"bgp.routerID {claim.router_id.strip()} is {router.ref}'s")
        for found in self.intent.of(IPv4StaticAddressSpec):
            address = found.spec.address.ip
            for what, wanted in _addresses(claim):
                if wanted == address:
                    self._refuse("address-is-reflectors", f"{what} {wanted} is {found.ref} of this router")
            for network in _inner(claim):
                if address in network:
                    self._refuse(
                        "address-is-reflectors",
                        f"wireGuard.allowedIPs {network} holds {found.ref} of this router ({address})",
                    )

    def _same_device(self, other: Claim) -> bool:
        theirs = self.intent.get(other.policy_ref, SAMEnrollmentPolicySpec)
        mine = self.policy.spec.wire_guard
        return (
            mine is not None
            and theirs is not None
            and theirs.spec.wire_guard is not None
            and mine.interface == theirs.spec.wire_guard.interface
        )

    def _profile_of(self, claim: Claim) -> str:
        policy = self.intent.get(claim.policy_ref, SAMEnrollmentPolicySpec)
        return _name(policy.spec.transport_profile_ref) if policy is not None else ""

    def check_slots(self) -> None:
        """Check that the leaf's /31 is free in every transport profile that its policy feeds."""
        leaf = self.claim.leaf_id.strip()
        holders = slot_holders(self.intent, self.others())
        for slot in slots_of(self.intent, self.policy, leaf):
            if leaf == slot.own:
                self._refuse("leaf-id-taken", f"leafID {leaf} is the name of this router in {slot.profile}")
            holder = holders.get(slot.network)
            if holder is not None and holder != leaf:
                self._refuse(
                    "slot-collision",
                    f"leaf {leaf} and {holder} would share the link {slot.network} of {slot.profile}; "
                    "choose another leafID, or a shorter innerPrefix on every router of the profile",
                )

    # --- refusing ------------------------------------------------------------------------------------

    def _taken(self, reason: str, what: str, holder: Claim, *, by_name: bool = False) -> None:
        who = f"claim {holder.name}" if by_name else f"leaf {holder.leaf_id.strip()} (claim {holder.name})"
        self._refuse(reason, f"{what} is held by {who} of {holder.policy_ref.strip()}")

    def _refuse(self, reason: str, message: str) -> None:
        raise EnrollmentRefused(reason, f"claim {self.claim.name}: {message}")


def _name(ref: str) -> str:
    return ref.strip().rpartition("/")[2]


def _key(claim: Claim) -> str:
    return claim.wireguard.public_key.strip() if claim.wireguard is not None else ""


def _nonce(admitted: AdmittedClaim) -> str:
    return admitted.claim.join_nonce.strip()


def _addresses(claim: Claim) -> Iterator[tuple[str, IPv4Address]]:
    yield "tunnelAddress", claim.tunnel_host
    for owned in sorted(claim.owned):
        yield "mobility.ownedAddresses", owned.network_address


def _inner(claim: Claim) -> tuple[IPv4Network, ...]:
    """Return what WireGuard would route to the leaf."""
    if claim.wireguard is None:
        return ()
    return tuple(sorted({IPv4Network(claim.tunnel_host), *claim.wireguard.allowed}))


def _listed(prefixes: tuple[IPv4Network, ...]) -> str:
    return ", ".join(str(prefix) for prefix in prefixes) or "no prefix at all"
