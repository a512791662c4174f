"""The desk of a route reflector: claims judged one after another, and on the disk before the answer.

Judging is memory alone and never waits, so two claims cannot be judged side by side. What is
decided is queued for the disk at once; many decisions share one `fsync`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import attrs

from routerd.admission.approvals import Approvals, Case
from routerd.admission.documents import claim_reports, expiring
from routerd.admission.form import check_form, normalised
from routerd.admission.group_commit import GroupCommit
from routerd.admission.holdings import Roster
from routerd.admission.join_tokens import JoinTokens
from routerd.admission.memory import Register
from routerd.admission.policies import Terms
from routerd.admission.refusals import Refusals
from routerd.admission.rules import Ledger, admit
from routerd.config import secrets
from routerd.control.ports import Accepted, Revoked, ServedTopology, Source
from routerd.control.ports import Decision as Verb
from routerd.errors import EnrollmentRefused, StoreError, TransientError
from routerd.model.audit import AuditEntry, Decision
from routerd.model.claim import AdmittedClaim, Claim, Submission
from routerd.model.intent import Intent, Named
from routerd.model.report.claims import ClaimDecision, ClaimReport
from routerd.model.specs import SAMEnrollmentPolicySpec, SecretSource
from routerd.model.specs.claim_codec import claim_from_document
from routerd.model.specs.rr_set import topology_document
from routerd.spi import Clock, Enrollment, JSONValue, Logger
from routerd.store import Revocation, Store, UsedNonce
from routerd.store.records import Forget, PendingClaim, Write

LONGEST_MESSAGE = 400
PROOF_DEADLINE = 5.0
NONCE_MARGIN = timedelta(days=30)

ENDED = ("claim-expired", "join-timestamp-not-fresh", "expires-at-exceeds-ttl")
"""Refusals of a claim that was fine, and waited too long for somebody's approval."""


class Desk:
    """Implements `control.ports.AdmissionDesk` over the store and the configuration's policies.

    `intent` is asked anew for each claim, so that a reload counts at once. `on_change` is called
    after each change that is on the disk; `admitted` then has it. Raises `StoreError` when the
    state cannot be read.
    """

    def __init__(
        self,
        *,
        store: Store,
        intent: Callable[[], Intent],
        enrollment: Enrollment,
        clock: Clock,
        log: Logger,
        on_change: Callable[[], None],
        secret: Callable[[SecretSource], str] = secrets.resolve,
    ) -> None:
        self._book = store.admission
        self._intent = intent
        self._enrollment = enrollment
        self._clock = clock
        self._log = log
        self._on_change = on_change
        self._tokens = JoinTokens(clock=clock, resolve=secret)
        self._register = Register(self._book.load(), intent(), clock.now())
        self._approvals = Approvals(self._register, enrollment.digest)
        self._shown = self._snapshot()
        self._begun = self._shown
        # Nonces of decisions that wait for the disk, and of those on their way; the store has all others.
        self._nonces: dict[tuple[str, str], UsedNonce] = {}
        self._nonces_begun: dict[tuple[str, str], UsedNonce] = {}
        self._commits = GroupCommit(
            self._book.commit, on_begin=self._on_begin, on_done=self._on_done, on_fail=self._on_fail
        )
        self._refusals = Refusals(self._commits.put, clock=clock)
        for found in self._register.quarantined.values():
            log.error("claim.quarantined", claim=found.name, reason=found.reason)

    # --- for leaves --------------------------------------------------------------------------------

    async def submit(self, document: JSONValue, source: Source | None) -> Accepted:
        """Judge the claim in a JSON document; it is on the disk when this returns."""
        claim: Claim | None = None
        try:
            claim = _read(document)
            check_form(claim)
            await self._authenticate(claim, self._terms(claim).policy, source)
            admitted = await self._judge(claim, source)
        except EnrollmentRefused as error:
            raise self._refused(error, claim, source) from error
        return Accepted(claim_ref=claim.ref, observed_at=self._clock.now(), expires_at=admitted.expires_at)

    async def topology(
        self, rr_set: str, claim_ref: str, *, digest: str, source: Source | None
    ) -> ServedTopology:
        """Return the route reflectors of a set to who proves to be the leaf of an admitted claim."""
        kind, _, name = claim_ref.strip().rpartition("/")
        if kind not in ("", "SAMEnrollmentClaim") or not name:
            raise EnrollmentRefused("claim-required", "the query needs claim=SAMEnrollmentClaim/<name>")
        claim = self._proven(name, digest, source)
        intent = self._intent()
        policy = self._terms(claim).policy
        if _name(claim.rr_set_ref) != rr_set or _name(policy.spec.rr_set_ref or "") != rr_set:
            raise EnrollmentRefused("rr-set-mismatch", f"{claim.ref} does not ask for SAMRRSet/{rr_set}")
        document = topology_document(intent, policy.spec)
        if document is None:
            raise EnrollmentRefused("rr-set-unknown", f"SAMRRSet/{rr_set} is not known here")
        return ServedTopology(rr_set=document, claim_digest=self._enrollment.digest(claim))

    async def revoke(self, name: str, reason: str, source: Source | None) -> Revoked:
        """End the claim of that name for good; doing it again changes nothing."""
        reason = reason[:LONGEST_MESSAGE]
        found = self._register.roster.named(name)
        if found is None:
            raise EnrollmentRefused("claim-unknown", f"no claim {name[:LONGEST_MESSAGE]} was admitted here")
        claim, now = found.claim, self._clock.now()
        if claim.revoked:
            await self._commits.settled()
        else:
            policy = claim.policy
            revocation = Revocation(
                policy=policy,
                leaf_id=claim.leaf_id.strip(),
                nonce=claim.join_nonce.strip(),
                name=name,
                reason=reason,
                revoked_at=now,
                public_key=claim.wireguard.public_key.strip() if claim.wireguard is not None else "",
            )
            ended = attrs.evolve(
                found,
                claim=attrs.evolve(claim, revoked=True),
                expires_at=min(found.expires_at or now, now),
            )
            note = self._note("revoked", claim, source, message=reason)
            # A change that waits for approval is not to be approved by mistake.
            waiting = [Forget(name=name)] if self._register.pending(name) is not None else []
            await self._write(revocation, ended, *waiting, note)
            self._log.warning("claim.revoked", claim=name, leaf=claim.leaf_id.strip(), reason=reason)
        return Revoked(claim_ref=claim.ref, observed_at=now, reason=reason)

    # --- for the administrator ---------------------------------------------------------------------

    def admitted(self) -> tuple[AdmittedClaim, ...]:
        """Return the claims that are on the disk, ended ones too; the same tuple until one changes."""
        return self._shown[2]

    async def claims(self) -> Sequence[ClaimReport]:
        """Return every claim that is known, by name, whatever became of it."""
        return claim_reports(self._register, self._approvals.substance, self._clock.now())

    async def decide(self, name: str, verb: Verb, reason: str) -> ClaimDecision:
        """Approve, reject or revoke the claim of that name."""
        reason = reason[:LONGEST_MESSAGE]
        match verb:
            case "revoke" if name in self._register.quarantined:
                note = AuditEntry(at=self._clock.now(), decision="revoked", claim=name, message=reason)
                await self._write(Forget(name=name, admitted=True), note)
                return ClaimDecision(name=name, phase="Revoked", message="what was set aside is removed")
            case "revoke":
                done = await self.revoke(name, reason, None)
                return ClaimDecision(name=name, phase="Revoked", message=done.reason)
            case "approve":
                return await self._approve(name, reason)
            case "reject":
                return await self._reject(name, reason)

    async def audit(self, *, limit: int, claim: str | None = None) -> Sequence[AuditEntry]:
        """Return the latest `limit` decisions, oldest first; of one claim or of all."""
        self._refusals.flush()
        with contextlib.suppress(StoreError):
            await self._commits.settled()
        return await asyncio.to_thread(self._book.audit, limit, claim)

    def warnings(self) -> list[str]:
        """Return in words what somebody should look at."""
        found = [
            f"claim {each.name} is set aside and counts as not there: {each.reason}; its leaf enrolls again, "
            f"or routerd enroll revoke {each.name} ends it"
            for each in self._register.quarantined.values()
        ]
        return found + expiring(self._shown[2], self._clock.now())

    async def aclose(self) -> None:
        """Wait for what is on its way to the disk."""
        await self._refusals.aclose()
        await self._commits.aclose()

    # --- judging -----------------------------------------------------------------------------------

    async def _judge(self, claim: Claim, source: Source | None) -> AdmittedClaim:
        """Decide without waiting, then wait until it is written."""
        case = self._case(claim, self._enrollment.digest(claim), source)
        admitted, before = self._admission_of(case), self._register.roster.named(claim.name)
        if admitted == before:
            # Decided before, and perhaps on its way to the disk still: no answer comes earlier.
            await self._commits.settled()
            return admitted
        if case.terms.policy.spec.approval == "manual" and not self._approvals.cover(case, before):
            await self._hold(case, admitted)
        await self._admit(case, admitted)
        return admitted

    def _terms(self, claim: Claim) -> Terms:
        """Return the terms of a claim's policy, by the configuration as it is now."""
        intent = self._intent()
        if intent is not self._register.roster.intent:
            self._register.reindexed(intent)
        return self._register.roster.house.terms(claim)

    def _case(self, claim: Claim, digest: str, source: Source | None) -> Case:
        return Case(
            claim=claim, terms=self._terms(claim), digest=digest, source=source, now=self._clock.now()
        )

    def _admission_of(self, case: Case) -> AdmittedClaim:
        """Return what admitting the claim would make of it, or raise `EnrollmentRefused`."""
        claim, policy = case.claim, case.policy
        nonce, used = claim.join_nonce.strip(), None
        if nonce:
            key = (policy, nonce)
            used = (
                self._nonces.get(key) or self._nonces_begun.get(key) or self._book.used_nonce(policy, nonce)
            )
        ledger = Ledger(nonce=used, revocations=self._register.revocations(policy, claim))
        return admit(
            claim,
            self._register.roster,
            ledger,
            fingerprint=self._fingerprint(case),
            now=case.now,
            digest=case.digest,
            source=case.source,
        )

    def _fingerprint(self, case: Case) -> str:
        """Return what identifies the signed part of a claim."""
        claim = case.claim
        if not claim.expires_at and not claim.revoked:
            return case.digest
        return self._enrollment.digest(attrs.evolve(claim, expires_at="", revoked=False))

    async def _admit(self, case: Case, admitted: AdmittedClaim, with_it: Sequence[Write] = ()) -> None:
        claim, now, roster = admitted.claim, case.now, self._register.roster
        before = roster.named(claim.name)
        renewed = before is not None and before.active(now)
        again = before is not None and before.claim == claim
        writes: list[Write] = [
            attrs.evolve(each, superseded=True) for each in roster.displaced_by(claim, now=now)
        ]
        writes += [admitted, *with_it]
        key = (case.policy, claim.join_nonce.strip())
        if key[1]:
            used = UsedNonce(
                policy=case.policy,
                nonce=key[1],
                leaf_id=claim.leaf_id.strip(),
                fingerprint=self._fingerprint(case),
                until=_useless_after(admitted),
            )
            writes.append(used)
            self._nonces[key] = used
        if self._register.pending(claim.name) is not None:
            writes.append(Forget(name=claim.name))
        if not again:
            writes.append(self._note("renewed" if renewed else "admitted", claim, case.source))
        await self._write(*writes)
        if not again:
            self._log.info(
                "claim.renewed" if renewed else "claim.admitted",
                claim=claim.name,
                leaf=claim.leaf_id.strip(),
                policy=case.policy,
                source=str(case.source),
                until=str(admitted.expires_at),
            )

    # --- approval ----------------------------------------------------------------------------------

    async def _hold(self, case: Case, admitted: AdmittedClaim) -> None:
        """Keep a claim until somebody has looked at it; always raises."""
        claim = case.claim
        waits = self._approvals.waits(case, admitted)
        if waits:
            await self._write(*waits, self._note("pending", claim, case.source))
            self._log.warning(
                "claim.pending", claim=claim.name, leaf=claim.leaf_id.strip(), source=str(case.source)
            )
        raise EnrollmentRefused(
            "approval-pending",
            f"claim {claim.name}: it waits for approval; routerd enroll approve {claim.name} "
            "on the route reflector lets it in",
        )

    async def _approve(self, name: str, reason: str) -> ClaimDecision:
        now = self._clock.now()
        waiting, found = self._register.pending(name), self._register.roster.named(name)
        if waiting is not None:
            return await self._approve_waiting(waiting, reason)
        if found is None:
            raise EnrollmentRefused("claim-unknown", f"no claim {name[:LONGEST_MESSAGE]} is known here")
        claim = found.claim
        policy = claim.policy
        revocations = [
            each
            for each in self._register.revocations(policy, claim)
            if each.lifted_at is None and each.leaf_id == claim.leaf_id.strip()
        ]
        if not claim.revoked and not revocations:
            await self._commits.settled()
            return ClaimDecision(name=name, phase="Approved", message="it was approved before")
        lifted = [attrs.evolve(each, lifted_at=now) for each in revocations]
        verdict = self._approvals.verdict(claim, policy, reason, now, approved=True)
        await self._write(*lifted, verdict, self._note("approved", claim, None, message=reason))
        self._log.warning("claim.revocation.lifted", claim=name, leaf=claim.leaf_id.strip(), reason=reason)
        return ClaimDecision(
            name=name, phase="Revoked", message="its leaf may join again, with a claim that it signs anew"
        )

    async def _approve_waiting(self, waiting: PendingClaim, reason: str) -> ClaimDecision:
        claim = waiting.claim
        case = self._case(claim, waiting.digest, waiting.source)
        verdict = self._approvals.verdict(claim, claim.policy, reason, case.now, approved=True)
        note = self._note("approved", claim, None, message=reason)
        try:
            admitted = self._admission_of(case)
        except EnrollmentRefused as error:
            if error.reason not in ENDED:
                raise
            await self._write(verdict, Forget(name=claim.name), note)
            message = "the claim ended while it waited; its leaf is admitted as soon as it has signed anew"
            return ClaimDecision(name=claim.name, phase="Pending", message=message)
        await self._admit(case, admitted, (verdict, note))
        return ClaimDecision(name=claim.name, phase="Approved", message="")

    async def _reject(self, name: str, reason: str) -> ClaimDecision:
        waiting = self._register.pending(name)
        if waiting is None:
            known = self._register.roster.named(name) is not None
            hint = (
                f"it is admitted; routerd enroll revoke {name} ends it" if known else "it is not known here"
            )
            raise EnrollmentRefused("claim-not-pending", f"claim {name[:LONGEST_MESSAGE]}: {hint}")
        claim, now = waiting.claim, self._clock.now()
        verdict = self._approvals.verdict(claim, claim.policy, reason, now, approved=False)
        await self._write(verdict, self._note("rejected", claim, None, message=reason))
        self._log.warning("claim.rejected", claim=name, leaf=claim.leaf_id.strip(), reason=reason)
        return ClaimDecision(name=name, phase="Rejected", message=reason)

    # --- proofs ------------------------------------------------------------------------------------

    async def _authenticate(
        self, claim: Claim, policy: Named[SAMEnrollmentPolicySpec], source: Source | None
    ) -> None:
        tokens = await self._tokens.of(policy)
        if tokens is None:
            # An open policy: by its own words nothing is proven.
            return
        refusal: EnrollmentRefused | None = None
        for secret in tokens.secrets:
            try:
                async with asyncio.timeout(PROOF_DEADLINE):
                    await self._enrollment.authenticate(Submission(claim=claim, source=source, secret=secret))
            except EnrollmentRefused as error:
                refusal = refusal or error
            except TimeoutError as error:
                raise TransientError(
                    f"claim {claim.name}: the join method did not answer within {PROOF_DEADLINE:g} s"
                ) from error
            else:
                return
        for text in tokens.errors:
            self._log.error("join.token.unreadable", policy=policy.ref, error=text)
        if refusal is not None and (not tokens.errors or refusal.reason != "join-hmac-mismatch"):
            raise refusal
        raise EnrollmentRefused(
            "join-token-unreadable",
            f"claim {claim.name}: the route reflector cannot read the join token of {policy.ref}; "
            "its log says why",
        )

    def _proven(self, name: str, digest: str, source: Source | None) -> Claim:
        """Return the claim of that name if it holds and whoever asks proves to be its leaf.

        Only who has the signed claim can compute its digest. A leaf of the seed's time sends none;
        it is known by the address that it submitted from.
        """
        found = self._register.roster.named(name)
        if found is None or not found.active(self._clock.now()):
            raise EnrollmentRefused(
                "claim-not-accepted", f"no claim {name[:LONGEST_MESSAGE]} holds here; submit it first"
            )
        if digest:
            held = (found.digest, self._enrollment.digest(found.claim))
            proven = any(hmac.compare_digest(digest.encode(), each.encode()) for each in held)
        else:
            proven = source == found.source
        if not proven:
            self._log.warning("claim.proof.refused", claim=name, source=str(source))
            raise EnrollmentRefused(
                "proof-required",
                f"claim {name}: whoever asks did not prove to be its leaf; send claimDigest of the claim as "
                "it was submitted, or ask from the address that submitted it; submitting it again does both",
            )
        return found.claim

    # --- writing -----------------------------------------------------------------------------------

    def _write(self, *writes: Write) -> asyncio.Future[None]:
        """Take in decisions and queue them for the disk.

        Whoever goes away while waiting leaves the write on its way: half a decision is none.
        """
        undos = [self._register.apply(write) for write in writes]
        return self._commits.put(writes, undos)

    def _snapshot(self) -> tuple[Roster, int, tuple[AdmittedClaim, ...]]:
        roster = self._register.roster
        return roster, roster.version, roster.all()

    def _on_begin(self) -> None:
        self._nonces_begun, self._nonces = self._nonces, {}
        roster, version, _ = self._shown
        if roster is not self._register.roster or version != roster.version:
            self._begun = self._snapshot()

    def _on_fail(self) -> None:
        self._nonces_begun, self._nonces = {}, {}

    def _on_done(self) -> None:
        self._nonces_begun = {}
        if self._begun is not self._shown:
            self._shown = self._begun
            self._on_change()

    def _note(
        self, decision: Decision, claim: Claim, source: Source | None, *, message: str = ""
    ) -> AuditEntry:
        return AuditEntry(
            at=self._clock.now(),
            decision=decision,
            claim=claim.name,
            leaf_id=claim.leaf_id.strip(),
            policy=claim.policy,
            source=str(source) if source is not None else "",
            message=message,
        )

    def _refused(
        self, error: EnrollmentRefused, claim: Claim | None, source: Source | None
    ) -> EnrollmentRefused:
        message = str(error)[:LONGEST_MESSAGE]
        if error.reason != "approval-pending":
            self._log.warning("claim.refused", reason=error.reason, error=message, source=str(source))
            self._refusals.add(
                AuditEntry(
                    at=self._clock.now(),
                    decision="refused",
                    claim=_shown(claim.name) if claim is not None else "",
                    leaf_id=_shown(claim.leaf_id.strip()) if claim is not None else "",
                    policy=_shown(claim.policy) if claim is not None else "",
                    source=str(source) if source is not None else "",
                    reason=error.reason,
                    message=message,
                )
            )
        return EnrollmentRefused(error.reason, message)


def _useless_after(admitted: AdmittedClaim) -> datetime | None:
    """Return when no claim with this one's nonce can be admitted any more, even under a longer ttl."""
    if admitted.expires_at is None or not admitted.claim.join_timestamp.strip():
        return None
    return admitted.expires_at + NONCE_MARGIN


def _read(document: JSONValue) -> Claim:
    try:
        return normalised(claim_from_document(document))
    except ValueError as error:
        raise EnrollmentRefused("claim-invalid", str(error)) from error


def _name(ref: str) -> str:
    return ref.strip().rpartition("/")[2]


def _shown(text: str) -> str:
    """Return what a stranger sent as at most 64 printable characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:64])
