"""The desk of a route reflector: claims judged one after another, and on the disk before the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

import attrs

from routerd.control.ports import Accepted, Revoked, ServedTopology, Source
from routerd.errors import ConfigError, EnrollmentRefused, TransientError
from routerd.model.claim import AdmittedClaim, Claim, Submission
from routerd.model.intent import Intent, Named
from routerd.model.specs import SAMEnrollmentPolicySpec, SecretSource
from routerd.model.specs.claim_codec import claim_from_document, claim_to_document
from routerd.model.specs.rr_set import topology_document
from routerd.reconcile.admit import Ledger, admit, policy_for
from routerd.reconcile.claim_form import check_form, normalised
from routerd.runtime import secrets
from routerd.spi import Clock, Enrollment, JSONValue, Logger
from routerd.store import Revocation, Store, UsedNonce

T = TypeVar("T")
Document = dict[str, JSONValue]

LONGEST_MESSAGE = 400
PROOF_DEADLINE = 5.0


class Desk:
    """Implements `control.ports.AdmissionDesk` over the store and the configuration's policies.

    `intent` is asked anew for each claim, so that a reload counts at once. `on_change` is called
    after each change that is on the disk.
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
        self._store = store
        self._intent = intent
        self._enrollment = enrollment
        self._clock = clock
        self._log = log
        self._on_change = on_change
        self._secret = secret
        self._turn = asyncio.Lock()
        self._work: set[asyncio.Task[Any]] = set()  # Any: results differ by method

    async def submit(self, document: JSONValue, source: Source | None) -> Accepted:
        """Judge the claim in a JSON document; it is on the disk when this returns."""
        try:
            claim = _read(document)
            check_form(claim)
            admitted = await self._whole(self._judge(claim, source))
        except EnrollmentRefused as error:
            raise self._refused(error, source) from error
        return Accepted(claim_ref=claim.ref, observed_at=self._clock.now(), expires_at=admitted.expires_at)

    async def topology(
        self, rr_set: str, claim_ref: str, *, digest: str, source: Source | None
    ) -> ServedTopology:
        """Return the route reflectors of a set to the leaf of an admitted claim."""
        kind, _, name = claim_ref.strip().rpartition("/")
        if kind not in ("", "SAMEnrollmentClaim") or not name:
            raise EnrollmentRefused("claim-required", "the query needs claim=SAMEnrollmentClaim/<name>")
        claim = await self._active(name)
        policy = policy_for(claim, self._intent())
        if _name(claim.rr_set_ref) != rr_set or _name(policy.spec.rr_set_ref or "") != rr_set:
            raise EnrollmentRefused("rr-set-mismatch", f"{claim.ref} does not ask for SAMRRSet/{rr_set}")
        document = topology_document(self._intent(), policy.spec)
        if document is None:
            raise EnrollmentRefused("rr-set-unknown", f"SAMRRSet/{rr_set} is not known here")
        return ServedTopology(rr_set=document, claim_digest=self._enrollment.digest(claim))

    async def revoke(self, name: str, reason: str, source: Source | None) -> Revoked:
        """End the claim of that name for good; doing it again changes nothing."""
        return await self._whole(self._revoke(name, reason[:LONGEST_MESSAGE]))

    # --- for the administrator -----------------------------------------------------------------------

    async def claims(self) -> list[JSONValue]:
        """Return every claim that is known, by name, whatever became of it."""
        now = self._clock.now()
        return [
            {
                **claim_to_document(found.claim),
                "status": {"phase": "Approved" if found.active(now) else "Expired"},
            }
            for found in await asyncio.to_thread(self._store.admitted)
        ]

    async def decide(self, name: str, verb: Literal["approve", "reject", "revoke"], reason: str) -> Document:
        """Approve, reject or revoke the claim of that name."""
        if verb != "revoke":
            raise EnrollmentRefused("claim-unknown", f"no claim {name} waits for approval")
        done = await self.revoke(name, reason, None)
        return {"name": name, "phase": "Revoked", "reason": done.reason}

    async def audit(self, *, limit: int, claim: str | None = None) -> list[JSONValue]:
        """Return the latest `limit` decisions, oldest first."""
        return []

    async def aclose(self) -> None:
        """Wait for what is being decided; it ends by itself."""
        if self._work:
            await asyncio.wait(self._work)

    # --- deciding ----------------------------------------------------------------------------------

    async def _judge(self, claim: Claim, source: Source | None) -> AdmittedClaim:
        async with self._turn:
            intent = self._intent()
            policy = policy_for(claim, intent)
            await self._authenticate(claim, policy, source)
            signed = attrs.evolve(claim, expires_at="", revoked=False)
            fingerprint = self._enrollment.digest(signed)
            ledger = await asyncio.to_thread(self._ledger, claim, policy.ref)
            admitted = admit(claim, intent, ledger, fingerprint=fingerprint, now=self._clock.now())
            before = next((each for each in ledger.admitted if each.claim.name == claim.name), None)
            if admitted == before:
                return admitted
            nonce = claim.join_nonce.strip()
            used = UsedNonce(
                policy=policy.ref, nonce=nonce, leaf_id=claim.leaf_id.strip(), fingerprint=fingerprint
            )
            await asyncio.to_thread(self._store.admit, admitted, used if nonce else None)
        self._log.info(
            "claim.admitted",
            claim=claim.name,
            leaf=claim.leaf_id.strip(),
            policy=policy.ref,
            source=str(source),
            until=str(admitted.expires_at),
        )
        self._on_change()
        return admitted

    async def _authenticate(
        self, claim: Claim, policy: Named[SAMEnrollmentPolicySpec], source: Source | None
    ) -> None:
        token = policy.spec.join_token_from
        if token is None:
            # An open policy: by its own words nothing is proven.
            return
        try:
            secret = await asyncio.to_thread(self._secret, token)
        except ConfigError as error:
            self._log.error("join.token.unreadable", policy=policy.ref, error=str(error))
            raise EnrollmentRefused(
                "join-token-unreadable",
                f"claim {claim.name}: the route reflector cannot read the join token of {policy.ref}; "
                "its log says why",
            ) from error
        submission = Submission(claim=claim, source=source, secret=secret)
        try:
            async with asyncio.timeout(PROOF_DEADLINE):
                await self._enrollment.authenticate(submission)
        except TimeoutError as error:
            raise TransientError(
                f"claim {claim.name}: the join method did not answer within {PROOF_DEADLINE:g} s"
            ) from error

    def _ledger(self, claim: Claim, policy: str) -> Ledger:
        nonce = claim.join_nonce.strip()
        return Ledger(
            admitted=self._store.admitted(),
            nonce=self._store.used_nonce(policy, nonce) if nonce else None,
            revocations=self._store.revocations(policy, claim.leaf_id.strip()),
        )

    async def _revoke(self, name: str, reason: str) -> Revoked:
        async with self._turn:
            admitted = await asyncio.to_thread(self._store.admitted)
            found = next((each.claim for each in admitted if each.claim.name == name), None)
            if found is None:
                raise EnrollmentRefused(
                    "claim-unknown", f"no claim {name[:LONGEST_MESSAGE]} was admitted here"
                )
            now = self._clock.now()
            kind, _, policy = found.policy_ref.strip().rpartition("/")
            revocation = Revocation(
                policy=f"{kind or 'SAMEnrollmentPolicy'}/{policy}",
                leaf_id=found.leaf_id.strip(),
                nonce=found.join_nonce.strip(),
                name=name,
                reason=reason,
                revoked_at=now,
            )
            if not found.revoked:
                await asyncio.to_thread(self._store.revoke, revocation)
        self._log.warning("claim.revoked", claim=name, leaf=found.leaf_id.strip(), reason=reason)
        self._on_change()
        return Revoked(claim_ref=found.ref, observed_at=now, reason=reason)

    async def _active(self, name: str) -> Claim:
        now = self._clock.now()
        for found in await asyncio.to_thread(self._store.admitted):
            if found.claim.name == name and found.active(now):
                return found.claim
        raise EnrollmentRefused(
            "claim-not-accepted", f"no claim {name[:LONGEST_MESSAGE]} holds here; submit it first"
        )

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end even when the client goes away: half a decision is none."""
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return await asyncio.shield(task)

    def _refused(self, error: EnrollmentRefused, source: Source | None) -> EnrollmentRefused:
        message = str(error)[:LONGEST_MESSAGE]
        self._log.warning("claim.refused", reason=error.reason, error=message, source=str(source))
        return EnrollmentRefused(error.reason, message)


def _read(document: JSONValue) -> Claim:
    try:
        return normalised(claim_from_document(document))
    except ValueError as error:
        raise EnrollmentRefused("claim-invalid", str(error)) from error


def _name(ref: str) -> str:
    return ref.strip().rpartition("/")[2]
