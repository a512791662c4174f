"""What an operator decides on claims: approve, reject, revoke. A client of the listener may revoke, too."""

import attrs

from routerd.admission.approvals import Approvals
from routerd.admission.decisions import LONGEST_MESSAGE, Decisions
from routerd.admission.judge import Judge
from routerd.control.ports import Decision as Verb
from routerd.control.ports import Revoked, Source
from routerd.errors import EnrollmentRefused
from routerd.model.report.claims import AuditEntry, ClaimDecision
from routerd.spi import Clock, Logger
from routerd.store import Revocation
from routerd.store.records import Forget, PendingClaim

ENDED = ("claim-expired", "join-timestamp-not-fresh", "expires-at-exceeds-ttl")
"""Refusals of a claim that was right, and ended while it waited for an operator."""


class Operator:
    """Carries out the decisions of operators; refuses with `EnrollmentRefused`."""

    def __init__(
        self, decisions: Decisions, approvals: Approvals, judge: Judge, *, clock: Clock, log: Logger
    ) -> None:
        self._decisions = decisions
        self._approvals = approvals
        self._judge = judge
        self._clock = clock
        self._log = log

    async def decide(self, name: str, verb: Verb, reason: str) -> ClaimDecision:
        """Approve, reject or revoke the claim of that name."""
        reason = reason[:LONGEST_MESSAGE]
        match verb:
            case "revoke" if name in self._decisions.memory.quarantined:
                note = AuditEntry(at=self._clock.now(), decision="revoked", claim=name, message=reason)
                await self._decisions.write(Forget(name=name, admitted=True), note)
                return ClaimDecision(name=name, phase="Revoked", message="the quarantined record is removed")
            case "revoke":
                done = await self.revoke(name, reason, None)
                return ClaimDecision(name=name, phase="Revoked", message=done.reason)
            case "approve":
                return await self._approve(name, reason)
            case "reject":
                return await self._reject(name, reason)

    async def revoke(self, name: str, reason: str, source: Source | None) -> Revoked:
        """End the claim of that name for good; a second call changes nothing."""
        reason = reason[:LONGEST_MESSAGE]
        memory = self._decisions.memory
        found = memory.holdings.named(name)
        if found is None:
            raise EnrollmentRefused("claim-unknown", f"claim {name[:LONGEST_MESSAGE]}: not known here")
        claim, now = found.claim, self._clock.now()
        if claim.revoked:
            await self._decisions.settled()
        else:
            revocation = Revocation(
                policy=claim.policy,
                leaf_id=claim.leaf_id,
                nonce=claim.join_nonce,
                name=name,
                reason=reason,
                revoked_at=now,
                public_key=claim.public_key,
            )
            ended = attrs.evolve(
                found,
                claim=attrs.evolve(claim, revoked=True),
                expires_at=min(found.expires_at or now, now),
            )
            note = self._decisions.note("revoked", claim, source, message=reason)
            # Nobody shall approve by mistake a change of it that waits.
            waiting = [Forget(name=name)] if memory.pending(name) is not None else []
            await self._decisions.write(revocation, ended, *waiting, note)
            self._log.warning("claim.revoked", claim=name, leaf=claim.leaf_id, reason=reason)
        return Revoked(claim_ref=claim.ref, observed_at=now, reason=reason)

    async def _approve(self, name: str, reason: str) -> ClaimDecision:
        now, memory = self._clock.now(), self._decisions.memory
        waiting, found = memory.pending(name), memory.holdings.named(name)
        if waiting is not None:
            return await self._approve_waiting(waiting, reason)
        if found is None:
            raise EnrollmentRefused("claim-unknown", f"claim {name[:LONGEST_MESSAGE]}: not known here")
        claim = found.claim
        revocations = [
            each
            for each in memory.revocations(claim.policy, claim)
            if each.lifted_at is None and each.leaf_id == claim.leaf_id
        ]
        if not claim.revoked and not revocations:
            await self._decisions.settled()
            return ClaimDecision(name=name, phase="Approved", message="it was approved before")
        lifted = [attrs.evolve(each, lifted_at=now) for each in revocations]
        verdict = self._approvals.verdict(claim, claim.policy, reason, now, approved=True)
        note = self._decisions.note("approved", claim, None, message=reason)
        await self._decisions.write(*lifted, verdict, note)
        self._log.warning("claim.revocation.lifted", claim=name, leaf=claim.leaf_id, reason=reason)
        message = "its leaf may join again with a newly signed claim"
        return ClaimDecision(name=name, phase="Revoked", message=message)

    async def _approve_waiting(self, waiting: PendingClaim, reason: str) -> ClaimDecision:
        claim = waiting.claim
        case = self._judge.case(claim, waiting.digest, waiting.source)
        verdict = self._approvals.verdict(claim, claim.policy, reason, case.now, approved=True)
        note = self._decisions.note("approved", claim, None, message=reason)
        try:
            admitted = self._judge.admission_of(case)
        except EnrollmentRefused as error:
            if error.reason not in ENDED:
                raise
            await self._decisions.write(verdict, Forget(name=claim.name), note)
            message = "the claim ended while it waited; its leaf is admitted when it signs a new claim"
            return ClaimDecision(name=claim.name, phase="Pending", message=message)
        await self._judge.admit(case, admitted, (verdict, note))
        return ClaimDecision(name=claim.name, phase="Approved", message="")

    async def _reject(self, name: str, reason: str) -> ClaimDecision:
        memory = self._decisions.memory
        waiting = memory.pending(name)
        if waiting is None:
            admitted = f"admitted, not pending; to end it, run routerd enroll revoke {name}"
            state = admitted if memory.holdings.named(name) is not None else "not known here"
            raise EnrollmentRefused("claim-not-pending", f"claim {name[:LONGEST_MESSAGE]}: {state}")
        claim, now = waiting.claim, self._clock.now()
        verdict = self._approvals.verdict(claim, claim.policy, reason, now, approved=False)
        await self._decisions.write(verdict, self._decisions.note("rejected", claim, None, message=reason))
        self._log.warning("claim.rejected", claim=name, leaf=claim.leaf_id, reason=reason)
        return ClaimDecision(name=name, phase="Rejected", message=reason)
