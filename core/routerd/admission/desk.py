"""The desk of a route reflector: what clients and operators ask of admission, and who answers it.

`judge` decides on claims, `operator` carries out what operators decide, `proof` checks that a
leaf is who it says, `decisions` writes everything down.
"""

from collections.abc import Callable, Sequence

from routerd.admission.approvals import Approvals
from routerd.admission.decisions import Decisions
from routerd.admission.documents import claim_reports, expiring
from routerd.admission.form import check_asker, check_form, normalised
from routerd.admission.judge import Judge
from routerd.admission.operator import Operator
from routerd.admission.proof.checks import Proofs
from routerd.config import secrets
from routerd.control.ports import (
    Accepted,
    ChallengeAsked,
    IssuedChallenge,
    PresentedProof,
    Revoked,
    ServedTopology,
    Source,
)
from routerd.control.ports import Decision as Verb
from routerd.errors import EnrollmentRefused
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.intent import Intent
from routerd.model.names import Ref
from routerd.model.report.claims import AuditEntry, ClaimDecision, ClaimReport
from routerd.model.specs import SecretSource
from routerd.model.specs.claim_codec import claim_from_document
from routerd.model.specs.claim_text import digest as digest_of
from routerd.model.specs.rr_set import topology_document
from routerd.plugins.join_methods import JoinMethods
from routerd.spi import Clock, JSONValue, Logger
from routerd.store import Store


class Desk:
    """Implements `control.ports.AdmissionDesk` over the store and the configuration's policies.

    Each claim calls `intent`, so that a reload counts at once. `on_change` gets all admitted claims
    after each change that is on the disk. Raises `StoreError` when the state cannot be read.
    """

    def __init__(
        self,
        *,
        store: Store,
        intent: Callable[[], Intent],
        methods: JoinMethods,
        clock: Clock,
        log: Logger,
        on_change: Callable[[tuple[AdmittedClaim, ...]], None],
        secret: Callable[[SecretSource], str] = secrets.resolve,
    ) -> None:
        self._intent = intent
        self._clock = clock
        self._decisions = Decisions(store.admission, intent(), clock=clock, log=log, on_change=on_change)
        self._memory = self._decisions.memory
        self._approvals = Approvals(self._memory)
        self._proofs = Proofs(self._decisions, methods=methods, clock=clock, log=log, secret=secret)
        self._judge = Judge(self._decisions, self._approvals, intent=intent, clock=clock, log=log)
        self._operator = Operator(self._decisions, self._approvals, self._judge, clock=clock, log=log)

    # --- for leaves --------------------------------------------------------------------------------

    async def challenge(self, asked: ChallengeAsked, source: Source | None) -> IssuedChallenge:
        """Return a challenge for the proof of a leaf."""
        try:
            check_asker(asked.leaf_id, asked.public_key)
            policy = self._judge.policy_named(asked.policy_ref, f"leaf {asked.leaf_id}").policy
            made = self._proofs.challenge(policy, asked.leaf_id, asked.public_key)
        except EnrollmentRefused as error:
            # The leaf gets no further, so the trail of decisions has to say why.
            raise self._decisions.refuse(error, None, source) from error
        return IssuedChallenge(
            method=policy.spec.join_method, challenge=made.text, expires_at=made.expires_at
        )

    async def submit(
        self, document: JSONValue, source: Source | None, proof: PresentedProof | None = None
    ) -> Accepted:
        """Judge the claim in a JSON document; it is on the disk when this returns."""
        claim: Claim | None = None
        try:
            claim = _read(document)
            check_form(claim)
            await self._proofs.check_join(claim, self._judge.policy(claim).policy, source, proof)
            admitted = await self._judge.judge(claim, source)
        except EnrollmentRefused as error:
            raise self._decisions.refuse(error, claim, source) from error
        return Accepted(claim_ref=claim.ref, observed_at=self._clock.now(), expires_at=admitted.expires_at)

    async def topology(
        self, rr_set: str, claim_ref: str, *, digest: str, source: Source | None
    ) -> ServedTopology:
        """Return the route reflectors of a set to a client that proves it holds an admitted claim."""
        ref = Ref.parse(claim_ref)
        if not ref.may_be("SAMEnrollmentClaim"):
            raise EnrollmentRefused("claim-required", "query: no claim; add claim=SAMEnrollmentClaim/<name>")
        claim = self._proofs.check_holder(ref.name, digest, source)
        policy = self._judge.policy(claim).policy
        if {Ref.parse(claim.rr_set_ref).name, Ref.parse(policy.spec.rr_set_ref or "").name} != {rr_set}:
            raise EnrollmentRefused("rr-set-mismatch", f"{claim.ref} does not ask for SAMRRSet/{rr_set}")
        document = topology_document(self._intent(), policy.spec)
        if document is None:
            raise EnrollmentRefused("rr-set-unknown", f"SAMRRSet/{rr_set}: not known here")
        return ServedTopology(rr_set=document, claim_digest=digest_of(claim))

    async def revoke(self, name: str, reason: str, source: Source | None) -> Revoked:
        """End the claim of that name for good; a second call changes nothing."""
        return await self._operator.revoke(name, reason, source)

    # --- for operators -----------------------------------------------------------------------------

    def admitted(self) -> tuple[AdmittedClaim, ...]:
        """Return the claims that are on the disk, ended ones too; the same tuple until one changes."""
        return self._decisions.admitted()

    async def claims(self) -> Sequence[ClaimReport]:
        """Return every known claim with its state, by name."""
        return claim_reports(self._memory, self._approvals.substance, self._clock.now())

    async def decide(self, name: str, verb: Verb, reason: str) -> ClaimDecision:
        """Approve, reject or revoke the claim of that name."""
        return await self._operator.decide(name, verb, reason)

    async def audit(self, *, limit: int, claim: str | None = None) -> Sequence[AuditEntry]:
        """Return the latest `limit` decisions, oldest first; of one claim or of all."""
        return await self._decisions.audit(limit, claim)

    def warnings(self) -> list[str]:
        """Return what the operator should look at, as messages."""
        found = [
            f"claim {each.name}: quarantined, counts as absent; {each.reason}; let its leaf enroll again, "
            f"or run routerd enroll revoke {each.name}"
            for each in self._memory.quarantined.values()
        ]
        return found + expiring(self.admitted(), self._clock.now())

    async def aclose(self) -> None:
        """Wait for what is on its way to the disk."""
        await self._decisions.aclose()


def _read(document: JSONValue) -> Claim:
    try:
        return normalised(claim_from_document(document))
    except ValueError as error:
        raise EnrollmentRefused("claim-invalid", str(error)) from error
