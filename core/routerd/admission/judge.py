"""Judging: a claim against the rules and everything decided before, and what follows from it.

Judging reads memory and never waits, so the judge never judges two claims at the same time.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import attrs

from routerd.admission.approvals import Approvals, Case
from routerd.admission.decisions import Decisions
from routerd.admission.policies import ResolvedPolicy
from routerd.admission.rules import History, admit
from routerd.control.ports import Source
from routerd.errors import EnrollmentRefused
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.intent import Intent
from routerd.model.specs.claim_text import digest
from routerd.spi import Clock, Logger
from routerd.store.records import Forget, UsedNonce, Write

NONCE_MARGIN = timedelta(days=30)


class Judge:
    """Judges claims by the configuration as it is now: each judgement calls `intent`."""

    def __init__(
        self,
        decisions: Decisions,
        approvals: Approvals,
        *,
        intent: Callable[[], Intent],
        clock: Clock,
        log: Logger,
    ) -> None:
        self._decisions = decisions
        self._approvals = approvals
        self._intent = intent
        self._clock = clock
        self._log = log

    def policy(self, claim: Claim) -> ResolvedPolicy:
        """Return the policy that a claim names; refused with `policy-unknown` when there is none."""
        return self._decisions.memory.rules(self._intent()).policy(claim)

    def policy_named(self, ref: str, who: str) -> ResolvedPolicy:
        """Return the policy `ref`; refused with `policy-unknown` when there is none; `who` asks."""
        return self._decisions.memory.rules(self._intent()).named(ref, who)

    async def judge(self, claim: Claim, source: Source | None) -> AdmittedClaim:
        """Decide without waiting; return when the decision is on the disk."""
        case = self.case(claim, digest(claim), source)
        admitted, before = self.admission_of(case), self._decisions.memory.holdings.named(claim.name)
        if admitted == before:
            # The claim was decided before; that decision may still be on its way to the disk.
            await self._decisions.settled()
            return admitted
        if case.policy.spec.approval == "manual" and not self._approvals.cover(case, before):
            await self._hold(case, admitted)
        await self.admit(case, admitted)
        return admitted

    def case(self, claim: Claim, digest: str, source: Source | None) -> Case:
        """Return a claim with everything that its judgement needs."""
        return Case(
            claim=claim, resolved=self.policy(claim), digest=digest, source=source, now=self._clock.now()
        )

    def admission_of(self, case: Case) -> AdmittedClaim:
        """Return what admitting the claim would make of it, or raise `EnrollmentRefused`."""
        claim, memory = case.claim, self._decisions.memory
        used = self._decisions.used_nonce(case.policy.ref, claim.join_nonce) if claim.join_nonce else None
        return admit(
            claim,
            memory.holdings,
            History(nonce=used, revocations=memory.revocations(case.policy.ref, claim)),
            fingerprint=self._fingerprint(case),
            now=case.now,
            digest=case.digest,
            source=case.source,
        )

    async def admit(self, case: Case, admitted: AdmittedClaim, with_it: Sequence[Write] = ()) -> None:
        """Admit a claim; `with_it` is written in the same step."""
        claim, now, memory = admitted.claim, case.now, self._decisions.memory
        before = memory.holdings.named(claim.name)
        writes: list[Write] = [
            attrs.evolve(each, superseded=True) for each in memory.holdings.displaced_by(claim, now=now)
        ]
        writes += [admitted, *with_it]
        if claim.join_nonce:
            used = UsedNonce(
                policy=case.policy.ref,
                nonce=claim.join_nonce,
                leaf_id=claim.leaf_id,
                fingerprint=self._fingerprint(case),
                until=_useless_after(admitted),
            )
            writes.append(used)
        if memory.pending(claim.name) is not None:
            writes.append(Forget(name=claim.name))
        if before is not None and before.claim == claim:
            await self._decisions.write(*writes)
            return
        renewed = before is not None and before.active(now)
        note = self._decisions.note("renewed" if renewed else "admitted", claim, case.source)
        await self._decisions.write(*writes, note)
        self._log.info(
            "claim.renewed" if renewed else "claim.admitted",
            claim=claim.name,
            leaf=claim.leaf_id,
            policy=case.policy.ref,
            source=str(case.source),
            until=str(admitted.expires_at),
        )

    async def _hold(self, case: Case, admitted: AdmittedClaim) -> None:
        """Keep a claim until an operator decides on it; always raises."""
        claim = case.claim
        waits = self._approvals.waits(case, admitted)
        if waits:
            await self._decisions.write(*waits, self._decisions.note("pending", claim, case.source))
            self._log.warning("claim.pending", claim=claim.name, leaf=claim.leaf_id, source=str(case.source))
        raise EnrollmentRefused(
            "approval-pending",
            f"claim {claim.name}: waits for approval; to admit it, run routerd enroll approve {claim.name} "
            "on the route reflector",
        )

    def _fingerprint(self, case: Case) -> str:
        """Return what identifies the signed part of a claim."""
        claim = case.claim
        if not claim.expires_at and not claim.revoked:
            return case.digest
        return digest(attrs.evolve(claim, expires_at="", revoked=False))


def _useless_after(admitted: AdmittedClaim) -> datetime | None:
    """Return when no policy admits a claim with this nonce any longer, even one with a longer ttl."""
    if admitted.expires_at is None or not admitted.claim.join_timestamp:
        return None
    return admitted.expires_at + NONCE_MARGIN
