"""Approval: which claims wait for an operator, and which ones a verdict covers. Memory only."""

from datetime import datetime

import attrs

from routerd.admission.memory import Memory
from routerd.admission.policies import ResolvedPolicy
from routerd.control.ports import Source
from routerd.errors import EnrollmentRefused
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.intent import Named
from routerd.model.specs import SAMEnrollmentPolicySpec
from routerd.model.specs.claim_text import digest
from routerd.store.records import Forget, PendingClaim, Verdict, Write

MOST_PENDING = 4096


@attrs.frozen(kw_only=True)
class Case:
    """A claim on the desk with its resolved policy; `digest` is that of the claim as submitted."""

    claim: Claim
    resolved: ResolvedPolicy
    digest: str
    source: Source | None
    now: datetime

    @property
    def policy(self) -> Named[SAMEnrollmentPolicySpec]:
        """Return the claim's policy."""
        return self.resolved.policy


class Approvals:
    """What the memory says of approval. The caller writes changes."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def substance(self, claim: Claim) -> str:
        """Return what an approval covers: the claim without nonce, time, proof and end."""
        return digest(
            attrs.evolve(claim, join_nonce="", join_timestamp="", join_hmac="", expires_at="", revoked=False)
        )

    def cover(self, case: Case, before: AdmittedClaim | None) -> bool:
        """Say whether a claim may join without an operator; refused when an operator rejected it."""
        claim, substance = case.claim, self.substance(case.claim)
        verdict = self._memory.verdict(case.policy.ref, claim.leaf_id)
        if verdict is not None and verdict.substance == substance:
            if not verdict.approved:
                why = f" ({verdict.reason})" if verdict.reason else ""
                raise EnrollmentRefused(
                    "claim-rejected",
                    f"claim {claim.name}: rejected by an operator{why}; to admit it, run "
                    f"routerd enroll approve {claim.name} on the route reflector",
                )
            return True
        # A claim that holds needs no approval to go on as it is.
        return before is not None and before.active(case.now) and self.substance(before.claim) == substance

    def waits(self, case: Case, admitted: AdmittedClaim) -> list[Write]:
        """Return the writes that make a claim wait; none when it waits already."""
        claim, now = case.claim, case.now
        known = self._memory.pending(claim.name)
        if known is not None and known.digest == case.digest:
            return []
        if known is not None and not self._may_replace(known, case):
            # A claim must not change while an operator reads it.
            raise EnrollmentRefused(
                "claim-name-pending",
                f"claim {claim.name}: not taken; another claim of this name waits for approval; "
                f"to make room, run routerd enroll reject {claim.name} on the route reflector",
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
        """Return an operator's verdict on the leaf of a claim."""
        return Verdict(
            policy=policy,
            leaf_id=claim.leaf_id,
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
        leaf = known.claim.leaf_id
        verdict = self._memory.verdict(known.claim.policy, leaf)
        rejected = verdict is not None and not verdict.approved and verdict.substance == substance
        return rejected and leaf == case.claim.leaf_id

    def _room(self, now: datetime) -> list[Write]:
        """Return the writes that make room for one more claim that waits."""
        waiting = list(self._memory.waiting())
        if len(waiting) < MOST_PENDING:
            return []
        stale: list[Write] = [Forget(name=each.claim.name) for each in waiting if each.expires_at <= now]
        if not stale:
            raise EnrollmentRefused(
                "too-many-pending",
                f"not taken: {MOST_PENDING} claims wait for approval; decide on some of them first",
            )
        return stale
