"""The join method `token`: a shared secret signs the claim by HMAC-SHA256."""

import hmac

import attrs

from routerd.errors import EnrollmentRefused, PermanentError
from routerd.model.claim import Claim, Submission
from routerd_enrollment_token import payload


class TokenEnrollment:
    """Implements `spi.PayloadEnrollment`. It holds no secret: each call brings its own."""

    async def start(self) -> None:
        """Do nothing: the method has no resources."""

    async def aclose(self) -> None:
        """Do nothing: the method has no resources."""

    async def authenticate(self, submission: Submission) -> None:
        """Check the claim's proof with `submission.secret`.

        Raises `EnrollmentRefused` with `join-nonce-required`, `join-timestamp-required`,
        `join-hmac-required`, `join-token-missing` or `join-hmac-mismatch`. The core decides whether a
        policy asks for a proof; without a secret this method refuses every claim.
        """
        claim = submission.claim
        who = f"claim {claim.name} of leaf {claim.leaf_id}"
        for value, reason, field in (
            (claim.join_nonce, "join-nonce-required", "joinNonce"),
            (claim.join_timestamp, "join-timestamp-required", "joinTimestamp"),
            (claim.join_hmac, "join-hmac-required", "joinHMAC"),
        ):
            if not value.strip():
                raise EnrollmentRefused(
                    reason, f"{who}: {field} is required because {claim.policy_ref} has a join token"
                )
        if not submission.secret:
            raise EnrollmentRefused(
                "join-token-missing", f"{who}: there is no join token to check the proof; set joinTokenFrom"
            )
        expected = payload.proof(claim, submission.secret)
        if not hmac.compare_digest(claim.join_hmac.encode(), expected.encode()):
            raise EnrollmentRefused(
                "join-hmac-mismatch",
                f"{who}: joinHMAC does not match the join token of {claim.policy_ref}; "
                "sign it again with the policy's token, after every change of the claim",
            )

    async def sign(self, claim: Claim, secret: str) -> Claim:
        """Return the claim with `join_hmac` filled in; an empty secret is a `PermanentError`."""
        if not secret:
            raise PermanentError(f"claim {claim.name}: the join token is empty; set joinTokenFrom")
        return attrs.evolve(claim, join_hmac=payload.proof(claim, secret))

    def payload(self, claim: Claim) -> bytes:
        """Return the signed text; it holds no secret."""
        return payload.canonical(claim)

    def digest(self, claim: Claim) -> str:
        """Return `sha256:<hex>` over the signed text, the proof and the admission state."""
        return payload.digest(claim)
