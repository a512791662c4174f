"""Checks of proofs: a leaf proves by a join method that it may join, and later that it holds its claim."""

import hmac
from collections.abc import Callable

from routerd.admission.decisions import LONGEST_MESSAGE, Decisions
from routerd.admission.proof.challenges import Challenge, Challenges
from routerd.admission.proof.tokens import JoinTokens
from routerd.control.ports import PresentedProof, Source
from routerd.errors import EnrollmentRefused, ProofMismatch
from routerd.model.claim import Claim
from routerd.model.intent import Named
from routerd.model.specs import SAMEnrollmentPolicySpec, SecretSource
from routerd.model.specs.claim_text import digest as digest_of
from routerd.model.specs.enrollment import NO_JOIN_METHOD
from routerd.plugins.join_methods import JoinMethods
from routerd.spi import Clock, Logger, Proof, Submission


class Proofs:
    """Checks proofs with the join method of the policy; refuses with `EnrollmentRefused`."""

    def __init__(
        self,
        decisions: Decisions,
        *,
        methods: JoinMethods,
        clock: Clock,
        log: Logger,
        secret: Callable[[SecretSource], str],
    ) -> None:
        self._decisions = decisions
        self._methods = methods
        self._clock = clock
        self._log = log
        self._tokens = JoinTokens(clock=clock, resolve=secret)
        self._challenges = Challenges(clock)

    def challenge(self, policy: Named[SAMEnrollmentPolicySpec], leaf: str, key: str) -> Challenge:
        """Return a challenge for a leaf and its key, if the policy's join method asks for one."""
        kind = policy.spec.join_method
        if kind == NO_JOIN_METHOD or not self._methods.described(kind).challenges:
            raise EnrollmentRefused(
                "join-challenge-not-offered",
                f"leaf {leaf}: no challenge; joinMethod {kind} of {policy.ref} asks for none",
            )
        return self._challenges.issue(_subject(policy, kind, leaf, key))

    async def check_join(
        self,
        claim: Claim,
        policy: Named[SAMEnrollmentPolicySpec],
        source: Source | None,
        presented: PresentedProof | None,
    ) -> None:
        """Ask the policy's join method whether the proof of a claim holds.

        A policy that says `joinMethod: none` asks for no proof. Raises `JoinMethodFailed` when the
        method does not answer.
        """
        kind = policy.spec.join_method
        if kind == NO_JOIN_METHOD:
            return
        who = f"claim {claim.name} of leaf {claim.leaf_id}"
        method = self._methods.described(kind)
        if presented is not None and presented.method != kind:
            raise EnrollmentRefused(
                "join-method-mismatch",
                f"{who}: its proof is of joinMethod {presented.method}, and {policy.ref} asks for {kind}; "
                f"set joinMethod: {kind} of the SAMEnrollmentClient",
            )
        for value, reason, field in (
            (claim.join_nonce, "join-nonce-required", "joinNonce"),
            (claim.join_timestamp, "join-timestamp-required", "joinTimestamp"),
        ):
            if not value:
                raise EnrollmentRefused(
                    reason, f"{who}: {field} is missing; {policy.ref} asks for a proof of joinMethod {kind}"
                )
        challenge = presented.challenge if presented is not None else ""
        if method.challenges:
            self._challenges.spend(challenge, _subject(policy, kind, claim.leaf_id, claim.public_key), who)
        elif challenge:
            raise EnrollmentRefused(
                "join-challenge-not-offered",
                f"{who}: its proof answers a challenge; joinMethod {kind} of {policy.ref} asks for none",
            )
        tokens = await self._tokens.of(policy)
        for text in tokens.errors:
            self._log.error("join.token.unreadable", policy=policy.ref, error=text)
        submission = Submission(
            claim=claim,
            proof=presented.proof if presented is not None else Proof(join_hmac=claim.join_hmac),
            source=source,
            secrets=tokens.secrets,
            options=self._methods.options(policy.ref),
            challenge=challenge,
        )
        try:
            await self._methods.verify(kind, submission)
        except EnrollmentRefused as error:
            if tokens.errors and (isinstance(error, ProofMismatch) or not tokens.secrets):
                raise EnrollmentRefused(
                    "join-token-unreadable",
                    f"claim {claim.name}: not checked; the route reflector cannot read a join token of "
                    f"{policy.ref}; read the log of the route reflector",
                ) from error
            raise

    def check_holder(self, name: str, digest: str, source: Source | None) -> Claim:
        """Return the claim of that name if it holds and the client proves to be its leaf.

        Only a client that has the signed claim can compute its digest. A leaf of the seed's time
        sends no digest; the address that submitted the claim identifies it.
        """
        found = self._decisions.memory.holdings.named(name)
        if found is None or not found.active(self._clock.now()):
            raise EnrollmentRefused(
                "claim-not-accepted", f"claim {name[:LONGEST_MESSAGE]}: not accepted here; submit it first"
            )
        if digest:
            held = (found.digest, digest_of(found.claim))
            proven = any(hmac.compare_digest(digest.encode(), each.encode()) for each in held)
        else:
            proven = source == found.source
        if not proven:
            self._log.warning("claim.proof.refused", claim=name, source=str(source))
            raise EnrollmentRefused(
                "proof-required",
                f"claim {name}: not served; the client did not prove that it holds the claim; "
                "send claimDigest of the claim as submitted, or ask from the address that submitted it; "
                "a new submission does both",
            )
        return found.claim


def _subject(policy: Named[SAMEnrollmentPolicySpec], kind: str, leaf: str, key: str) -> tuple[str, ...]:
    """Return what a challenge is bound to."""
    return (policy.ref, kind, leaf, key)
