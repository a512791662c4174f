"""The rules of admission: whether a claim may join, pure and in one order.

The join method checks the proof; everything else is here. A refusal names the field, its value and
the present holder. A rule that existing programs lack is marked "ours"; such a rule only refuses
what could not have worked, or what would have harmed another leaf.
"""

from collections.abc import Hashable
from datetime import datetime, timedelta

import attrs

from routerd.admission.form import parse_time
from routerd.admission.holdings import Held, Holdings
from routerd.admission.policies import ResolvedPolicy
from routerd.errors import EnrollmentRefused
from routerd.model.addresses import IPAddress, IPNetwork, host_prefix, inside, order
from routerd.model.claim import AdmittedClaim, Claim, Placement
from routerd.model.intent import Named
from routerd.model.names import Ref
from routerd.model.specs import SAMEnrollmentPolicySpec
from routerd.model.specs.enrollment import NO_JOIN_METHOD
from routerd.model.specs.leaves import acceptor
from routerd.store.records import Revocation, UsedNonce

DEFAULT_LIFE = timedelta(minutes=5)
"""Life of a claim when neither it nor its policy gives one."""


LARGEST_SKEW = timedelta(minutes=15)
"""Largest lead of a leaf's clock over ours.

A signature of the far future would keep the leaf from ever replacing its claim.
"""


@attrs.frozen(kw_only=True)
class History:
    """Earlier decisions that concern one claim.

    `nonce` is the earlier use of the claim's nonce. `revocations` are those of the claim's leaf under
    its policy, and those of its WireGuard key.
    """

    nonce: UsedNonce | None = None
    revocations: tuple[Revocation, ...] = ()


def admit(
    claim: Claim,
    holdings: Holdings,
    history: History,
    *,
    fingerprint: str,
    now: datetime,
    digest: str = "",
    source: IPAddress | None = None,
) -> AdmittedClaim:
    """Return the claim as admitted, or raise `EnrollmentRefused`.

    The claim has passed `check_form`. `fingerprint` identifies the signed text and its proof. A claim
    that repeats the fingerprint under the same name is the same claim: it is admitted unchanged.
    `digest` and `source` are kept with it.
    """
    candidate = _Candidate(
        claim=claim,
        holdings=holdings,
        resolved=holdings.rules.policy(claim),
        history=history,
        fingerprint=fingerprint,
        now=now,
        signed_at=parse_time(claim, "joinTimestamp", claim.join_timestamp, "join-timestamp-invalid"),
        held=holdings.held(claim),
    )
    candidate.check_policy()
    candidate = candidate.lasting()
    end = candidate.end()
    candidate.check_clock()
    candidate.check_history()
    others = _Others(candidate=candidate)
    others.check_holders()
    others.check_slots()
    others.check_speaker()
    previous = candidate.previous
    admitted_at = previous.admitted_at if previous is not None and previous.active(now) else now
    return AdmittedClaim(
        claim=candidate.claim,
        admitted_at=admitted_at,
        expires_at=end,
        digest=digest,
        source=source,
        method=candidate.policy.spec.join_method,
    )


@attrs.frozen(kw_only=True)
class _Candidate:
    """One claim with everything that its judgement needs."""

    claim: Claim
    holdings: Holdings
    resolved: ResolvedPolicy
    history: History
    fingerprint: str
    now: datetime
    signed_at: datetime | None
    held: Held

    @property
    def policy(self) -> Named[SAMEnrollmentPolicySpec]:
        """Return the claim's policy."""
        return self.resolved.policy

    @property
    def previous(self) -> AdmittedClaim | None:
        """Return the claim that was admitted under the same name, also when it has ended."""
        return self.holdings.named(self.claim.name)

    def repeated(self) -> bool:
        """Say whether the same claim was admitted under its name before."""
        nonce, previous = self.history.nonce, self.previous
        if previous is None:
            return False
        if self.claim.join_nonce:
            return (
                nonce is not None
                and nonce.fingerprint == self.fingerprint
                and previous.claim.join_nonce == self.claim.join_nonce
            )
        return attrs.evolve(previous.claim, expires_at="", revoked=False) == attrs.evolve(
            self.claim, expires_at=""
        )

    # --- what the policy allows ------------------------------------------------------------------

    def check_policy(self) -> None:
        """Check the claim against its policy."""
        claim, spec, ref = self.claim, self.policy.spec, self.policy.ref
        leaf = claim.leaf_id
        allowed = self.resolved.leaf_ids
        # Ours: the whole ID must match. A search for "leaf-a" would also admit "not-leaf-ax".
        if allowed is not None and allowed.fullmatch(leaf) is None:
            self.refuse(
                "leaf-id-not-allowed",
                f"leafID {leaf} is not allowed by {ref}; the whole of it must match {allowed.pattern}",
            )
        if (
            spec.rr_set_ref is not None
            and Ref.parse(claim.rr_set_ref).name != Ref.parse(spec.rr_set_ref).name
        ):
            got = claim.rr_set_ref or "empty"
            self.refuse("rr-set-mismatch", f"rrSetRef is {got}; {ref} serves {spec.rr_set_ref}")
        if spec.join_method != NO_JOIN_METHOD and spec.join_audience:
            audience = claim.join_audience
            if audience != spec.join_audience.strip():
                self.refuse(
                    "join-audience-mismatch",
                    f"joinAudience is {audience or 'empty'}; {ref} expects {spec.join_audience.strip()}",
                )
        if claim.direct_mesh and spec.direct_mesh is None:
            self.refuse(
                "direct-mesh-not-allowed",
                f"directMesh is not allowed; {ref} has no directMesh.peerGroupRef",
            )
        self._inside(
            "tunnel-address-outside", "tunnelAddress", claim.tunnel_host, spec.tunnel_address_prefixes
        )
        if claim.endpoint and spec.endpoint_prefixes:
            self._inside("endpoint-outside", "endpoint", claim.endpoint_host, spec.endpoint_prefixes)
        for owned in self.held.addresses[1:]:
            self._inside("owned-address-outside", "mobility.ownedAddresses", owned, self.resolved.pools)
        if claim.placement is not None:
            self._check_group(claim.placement)
        self._check_wireguard()

    def _check_group(self, placement: Placement) -> None:
        """Check that the leaf belongs to the site whose addresses it wants to share (ours)."""
        group, leaf = placement.group, self.claim.leaf_id
        allowed = self.resolved.groups.get(group)
        if allowed is None:
            known = ", ".join(sorted(self.resolved.groups)) or "none"
            message = f"placement.group {group} is not in {self.policy.ref}; it has {known}"
        elif allowed.fullmatch(leaf) is None:
            message = (
                f"leafID {leaf} is not allowed in placement group {group} by {self.policy.ref}; "
                f"the whole of it must match {allowed.pattern}"
            )
        else:
            return
        self.refuse("placement-not-allowed", message)

    def _check_wireguard(self) -> None:
        spec, wireguard = self.policy.spec, self.claim.wireguard
        if wireguard is None:
            if self.resolved.encrypted:
                # Ours: without a key no tunnel of this profile can come up.
                self.refuse(
                    "wireguard-key-required",
                    f"wireGuard.publicKey is missing; {self.resolved.encrypted} requires it",
                )
            return
        limits = spec.wire_guard
        endpoint = wireguard.udp_endpoint
        prefixes = (limits.endpoint_prefixes if limits else ()) or spec.endpoint_prefixes
        if endpoint is not None and prefixes:
            self._inside("wireguard-endpoint-outside", "wireGuard.endpoint", endpoint.address, prefixes)
        extra = limits.allowed_extra_ip_prefixes if limits else ()
        for network in sorted(wireguard.allowed, key=order):
            if network != host_prefix(self.claim.tunnel_host) and not any(
                inside(network, prefix) for prefix in extra
            ):
                self.refuse(
                    "wireguard-allowed-ips-outside",
                    f"wireGuard.allowedIPs {network} is outside of {_listed(extra)} of {self.policy.ref}",
                )

    def _inside(self, reason: str, field: str, address: IPAddress, prefixes: tuple[IPNetwork, ...]) -> None:
        if not any(address in prefix for prefix in prefixes):
            self.refuse(reason, f"{field} {address} is outside of {_listed(prefixes)} of {self.policy.ref}")

    # --- how long ----------------------------------------------------------------------------------

    def lasting(self) -> "_Candidate":
        """Return the claim with the later end of its own and of the claim admitted with the same proof.

        The end is not signed: an eavesdropper could send a claim again to cut it short.
        """
        previous = self.previous
        if previous is None or not self.repeated():
            return self
        earlier = attrs.evolve(self, claim=attrs.evolve(self.claim, expires_at=previous.claim.expires_at))
        return earlier if earlier.true_end() > self.true_end() else self

    def end(self) -> datetime:
        """Return the true end of the claim; refused when that is past."""
        asked, limit = self._asked(), self._limit()
        if asked is not None and limit is not None and self.signed_at is not None and asked > limit:
            self.refuse(
                "expires-at-exceeds-ttl",
                f"expiresAt {self.claim.expires_at} is too late; joinTimestamp and the ttl of "
                f"{self.policy.ref} allow {limit.isoformat()} at the latest",
            )
        end = self.true_end()
        if end <= self.now:
            self.refuse(
                "claim-expired", f"ended at {end.isoformat()}; sign it again with a new joinTimestamp"
            )
        return end

    def check_clock(self) -> None:
        """Check that the time of signing is credible (ours)."""
        signed_at, window = self.signed_at, self.policy.spec.freshness_window
        if signed_at is None:
            return
        ahead = signed_at - self.now
        if ahead > (min(LARGEST_SKEW, window) if window is not None else LARGEST_SKEW):
            self.refuse(
                "join-timestamp-in-future",
                f"joinTimestamp {self.claim.join_timestamp} is ahead of this router's clock "
                f"({self.now:%Y-%m-%dT%H:%M:%SZ}); set the clocks of both",
            )
        if window is not None and -ahead > window and not self.repeated():
            self.refuse(
                "join-timestamp-not-fresh",
                f"joinTimestamp {self.claim.join_timestamp} is older than the freshnessWindow of "
                f"{self.policy.ref} ({window}) at {self.now:%Y-%m-%dT%H:%M:%SZ}; sign the claim again and "
                "compare the clocks",
            )

    def true_end(self) -> datetime:
        """Return the earlier of the end that the claim asks for and the one that its policy allows."""
        ends = [moment for moment in (self._asked(), self._limit()) if moment is not None]
        return min(ends) if ends else self.now + DEFAULT_LIFE

    def _asked(self) -> datetime | None:
        return parse_time(self.claim, "expiresAt", self.claim.expires_at, "expires-at-invalid")

    def _limit(self) -> datetime | None:
        ttl = self.policy.spec.ttl
        if ttl is None:
            return None
        try:
            # A clock that is ahead must not buy a longer life.
            return min(self.signed_at or self.now, self.now) + ttl
        except OverflowError:
            return None

    # --- what was before -----------------------------------------------------------------------------

    def check_history(self) -> None:
        """Check the claim against its past: revocations, the use of its nonce, the owner of its name."""
        claim, previous = self.claim, self.previous
        nonce, signed_at = claim.join_nonce, self.signed_at
        for revocation in self.history.revocations:
            self._check_revocation(revocation, nonce, signed_at)
        used = self.history.nonce
        if nonce and used is not None and not self.repeated():
            self.refuse(
                "join-nonce-used",
                f"joinNonce was used before by leaf {used.leaf_id}; sign the claim with a new nonce",
            )
        if previous is not None and not self.repeated():
            self._check_replacement(previous, signed_at)

    def _check_revocation(self, revocation: Revocation, nonce: str, signed_at: datetime | None) -> None:
        """Refuse a revoked claim, and new claims of a revoked leaf until an operator lets it join (ours)."""
        who = (
            f"leaf {revocation.leaf_id} was revoked at {revocation.revoked_at.isoformat(timespec='seconds')}"
        )
        why = f" ({revocation.reason})" if revocation.reason else ""
        own = revocation.leaf_id == self.claim.leaf_id
        # What was signed before the revocation cannot undo it, whatever its nonce.
        stale = revocation.nonce == nonce or signed_at is None or signed_at <= revocation.revoked_at
        if revocation.lifted_at is None:
            held = "" if own else "; the claim has its WireGuard key"
            self.refuse(
                "claim-revoked",
                f"{who}{why}{held}; to let it join again, run routerd enroll approve "
                f"{revocation.name or self.claim.name} on the route reflector",
            )
        if own and stale:
            self.refuse("signed-before-revocation", f"{who}{why}; sign a new claim with a new nonce")

    def _check_replacement(self, previous: AdmittedClaim, signed_at: datetime | None) -> None:
        claim, old = self.claim, previous.claim
        holder = old.leaf_id
        if holder != claim.leaf_id:
            self.refuse("claim-name-taken", f"metadata.name belongs to leaf {holder}; use another name")
        before = parse_time(old, "joinTimestamp", old.join_timestamp, "join-timestamp-invalid")
        if before is not None and (signed_at is None or signed_at <= before):
            self.refuse(
                "join-timestamp-not-newer",
                f"joinTimestamp {claim.join_timestamp or 'is empty and'} is not newer than "
                f"{old.join_timestamp} of the claim it would replace",
            )
        # Ours: without a signature, only the key distinguishes a leaf from an impostor.
        if signed_at is None and previous.active(self.now) and old.public_key not in ("", claim.public_key):
            self.refuse(
                "wireguard-key-changed",
                "wireGuard.publicKey differs from that of the claim that holds; sign with a joinTimestamp",
            )

    def refuse(self, reason: str, message: str) -> None:
        """Raise the refusal."""
        raise EnrollmentRefused(reason, f"claim {self.claim.name}: {message}")


@attrs.frozen(kw_only=True)
class _Others:
    """A candidate beside everything that other leaves, and this router, hold."""

    candidate: _Candidate

    def check_holders(self) -> None:
        """Check that no other leaf holds what the claim asks for, under any policy."""
        claim = self.candidate.claim
        self._check_own()
        for item in self.candidate.held.items:
            sort, which = item
            if sort == "slot":
                continue
            site = self.candidate.held.site if item in self.candidate.held.shared else None
            other = self.candidate.holdings.holder(item, but=claim.name, now=self.candidate.now, site=site)
            if other is not None:
                self._taken(*self._name_of(sort, which, other.claim), other.claim, by_name=sort == "leaf")
        # Ours: WireGuard gives an address to the last peer that asks for it.
        crossing = self.candidate.holdings.overlapping(
            self.candidate.held, but=claim.name, now=self.candidate.now
        )
        if crossing is not None:
            network, other = crossing
            self._taken("wireguard-allowed-ips-taken", f"wireGuard.allowedIPs {network}", other.claim)
        self._check_site()

    def _check_site(self) -> None:
        """Check that the leaves of a site share an address: they find each other by it."""
        site, owned = self.candidate.held.site, self.candidate.claim.owned
        if site is None:
            return
        for other in self.candidate.holdings.members(
            site, but=self.candidate.claim.name, now=self.candidate.now
        ):
            if owned.isdisjoint(other.claim.owned):
                self.candidate.refuse(
                    "placement-nothing-shared",
                    f"mobility.ownedAddresses has no address of leaf {other.claim.leaf_id} (claim "
                    f"{other.claim.name}) of placement group {site.group}; claim an address that both share",
                )

    def _name_of(self, sort: str, which: Hashable, other: Claim) -> tuple[str, str]:
        """Return the reason code and the name of what another leaf holds."""
        claim = self.candidate.claim
        match sort:
            case "leaf":
                return "leaf-id-taken", f"leafID {which}"
            case "router-id":
                return "router-id-taken", f"bgp.routerID {claim.router_host}"
            case "key":
                return "wireguard-key-taken", f"wireGuard.publicKey {which}"
            case "placement":
                placed = claim.placement
                what = f"priority {placed.priority} of group {placed.group}" if placed else ""
                return "placement-priority-taken", f"placement: {what}"
            case "endpoint":
                return "endpoint-taken", f"endpoint {claim.endpoint_host}"
            case _ if which == int(claim.tunnel_host):
                return "tunnel-address-taken", f"tunnelAddress {claim.tunnel_host}"
            case _:
                address = next(each for each in self.candidate.held.addresses if int(each) == which)
                kind = " (its tunnelAddress)" if address == other.tunnel_host else ""
                return "owned-address-taken", f"mobility.ownedAddresses {address}{kind}"

    def _check_own(self) -> None:
        """Check that the claim asks for nothing that belongs to this router (ours)."""
        claim, rules = self.candidate.claim, self.candidate.holdings.rules
        router_id = claim.router_host
        if router_id is not None and (ref := rules.router_ids.get(router_id)) is not None:
            self.candidate.refuse("router-id-taken", f"bgp.routerID {router_id} belongs to {ref}")
        for address in self.candidate.held.addresses:
            if (ref := rules.addresses.get(address)) is not None:
                what = "tunnelAddress" if address == claim.tunnel_host else "mobility.ownedAddresses"
                self.candidate.refuse(
                    "address-is-reflectors", f"{what} {address} belongs to {ref} of this router"
                )
        for _, network in self.candidate.held.routed:
            for address, ref in rules.addresses.items():
                if address in network:
                    self.candidate.refuse(
                        "address-is-reflectors",
                        f"wireGuard.allowedIPs {network} covers {address} of {ref} of this router",
                    )

    def check_speaker(self) -> None:
        """Check that the BGP speaker of the claim can get a session here (ours)."""
        claim = self.candidate.claim
        if not claim.asn:
            return
        inner = (slot.network.network_address for slot in self.candidate.held.slots)
        peer = acceptor(self.candidate.holdings.rules.dynamic_peers, (claim.tunnel_host, *inner))
        if peer is not None and peer.spec.peer_asn != claim.asn:
            self.candidate.refuse(
                "asn-not-allowed",
                f"bgp.asn is {claim.asn}; {peer.ref} takes sessions of AS {peer.spec.peer_asn} only",
            )

    def check_slots(self) -> None:
        """Check that the leaf's /31 is free in every transport profile that its policy feeds."""
        leaf = self.candidate.claim.leaf_id
        for slot in self.candidate.held.slots:
            if leaf == slot.own:
                self.candidate.refuse(
                    "leaf-id-taken", f"leafID {leaf} is the name of this router in {slot.profile}"
                )
            holder = self.candidate.holdings.slot_holder(
                slot.network, but=self.candidate.claim.name, now=self.candidate.now
            )
            if holder is not None and holder != leaf:
                self.candidate.refuse(
                    "slot-collision",
                    f"leaf {leaf} would share the link {slot.network} of {slot.profile} with {holder}; "
                    "choose another leafID, or a shorter innerPrefix on every router of the profile",
                )

    def _taken(self, reason: str, what: str, holder: Claim, *, by_name: bool = False) -> None:
        who = f"claim {holder.name}" if by_name else f"leaf {holder.leaf_id} (claim {holder.name})"
        self.candidate.refuse(reason, f"{what} is held by {who} of {holder.policy_ref}")


def _listed(prefixes: tuple[IPNetwork, ...]) -> str:
    return ", ".join(str(prefix) for prefix in prefixes) or "no prefix"
