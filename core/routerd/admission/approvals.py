"""Approval: which claims somebody has to look at first, and what they decided. Memory alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import attrs

from routerd.admission.memory import Register
from routerd.admission.policies import Terms
from routerd.control.ports import Source
from routerd.errors import EnrollmentRefused
from routerd.model.claim import AdmittedClaim, Claim
from routerd.store.records import Forget, PendingClaim, Verdict, Write

MOST_PENDING = 4096


@attrs.frozen(kw_only=True)
class Case:
    """A claim on the desk, with the terms of its policy; `digest` is that of the claim as it came."""

    claim: Claim
    terms: Terms
    digest: str
    source: Source | None
    now: datetime

    @property
    def policy(self) -> str:
        """Return the reference to the claim's policy."""
        return self.terms.policy.ref


class Approvals:
    """What the register says of approval; `digest` identifies a claim. Changes are for others to write."""

    def __init__(self, register: Register, digest: Callable[[Claim], str]) -> None:
        self._register = register
        self._digest = digest

    def substance(self, claim: Claim) -> str:
        """Return what an approval covers: the claim without nonce, time, proof and end."""
        return self._digest(
            attrs.evolve(claim, join_nonce="", join_timestamp="", join_hmac="", expires_at="", revoked=False)
        )

    def cover(self, case: Case, before: AdmittedClaim | None) -> bool:
        """Say whether a claim may join unseen; refused when somebody has rejected it."""
        claim, substance = case.claim, self.substance(case.claim)
        verdict = self._register.verdict(case.policy, claim.leaf_id.strip())
        if verdict is not None and verdict.substance == substance:
            if not verdict.approved:
                why = f" ({verdict.reason})" if verdict.reason else ""
                raise EnrollmentRefused(
                    "claim-rejected",
                    f"claim {claim.name}: somebody rejected it{why}; "
                    f"routerd enroll approve {claim.name} on the route reflector lets it in",
                )
            return True
        # What holds already needs nobody's approval to go on as it is.
        return before is not None and before.active(case.now) and self.substance(before.claim) == substance

    def waits(self, case: Case, admitted: AdmittedClaim) -> list[Write]:
        """Return what is to be written so that a claim waits; nothing when it waits already."""
        claim, now = case.claim, case.now
        known = self._register.pending(claim.name)
        if known is not None and known.digest == case.digest:
            return []
        if known is not None and not self._may_replace(known, case):
            # What somebody is looking at must not turn into something else under their eyes.
            raise EnrollmentRefused(
                "claim-name-pending",
                f"claim {claim.name}: another claim of this name waits for approval; "
                f"routerd enroll reject {claim.name} on the route reflector makes room for this one",
            )
        waiting = PendingClaim(
            claim=claim,
            digest=case.digest,
            source=case.source,
            first_seen=known.first_seen if known is not None else now,
            expires_at=admitted.expires_at or now,
        )
        return [*(self._room(now) if known is None else []), waiting]

    def verdict(self, claim: Claim, policy: str, reason: str, now: datetime, *, approved: bool) -> Verdict:
        """Return what somebody decides about the leaf of a claim."""
        return Verdict(
            policy=policy,
            leaf_id=claim.leaf_id.strip(),
            name=claim.name,
            substance=self.substance(claim),
            approved=approved,
            reason=reason,
            decided_at=now,
        )

    def _may_replace(self, known: PendingClaim, case: Case) -> bool:
        """Say whether a claim may take the place of the one that waits under its name."""
        substance = self.substance(known.claim)
        if known.expires_at <= case.now or substance == self.substance(case.claim):
            return True
        leaf = known.claim.leaf_id.strip()
        verdict = self._register.verdict(known.claim.policy, leaf)
        rejected = verdict is not None and not verdict.approved and verdict.substance == substance
        return rejected and leaf == case.claim.leaf_id.strip()

    def _room(self, now: datetime) -> list[Write]:
        """Return what is to be forgotten so that one more claim can wait."""
        waiting = list(self._register.waiting())
        if len(waiting) < MOST_PENDING:
            return []
        stale: list[Write] = [Forget(name=each.claim.name) for each in waiting if each.expires_at <= now]
        if not stale:
            raise EnrollmentRefused("too-many-pending", f"{MOST_PENDING} claims wait for approval already")
        return stale
