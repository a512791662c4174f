"""The join method `token`: a shared secret signs the claim by HMAC-SHA256."""

import hmac

from routerd.errors import EnrollmentRefused, PermanentError, ProofMismatch
from routerd.model.specs.claim_text import signed_text
from routerd.spi import Proof, Signing, Submission
from routerd_enrollment_token import payload


class TokenEnrollment:
    """Implements `spi.PayloadEnrollment`. It holds no secret: each call brings its own."""

    async def start(self) -> None:
        """Do nothing: the method has no resources."""

    async def aclose(self) -> None:
        """Do nothing: the method has no resources."""

    async def verify(self, submission: Submission) -> None:
        """Check `joinHMAC` with each secret of the policy.

        Raises `EnrollmentRefused` with `join-hmac-required`, `join-token-missing` or
        `join-hmac-mismatch`; without a secret this method refuses every claim.
        """
        claim, given = submission.claim, submission.proof.join_hmac
        who = f"claim {claim.name} of leaf {claim.leaf_id}"
        if not given:
            raise EnrollmentRefused(
                "join-hmac-required",
                f"{who}: joinHMAC is required because {claim.policy_ref} has a join token",
            )
        if not any(submission.secrets):
            raise EnrollmentRefused(
                "join-token-missing", f"{who}: there is no join token to check the proof; set joinTokenFrom"
            )
        # Every secret is tried, so that the time does not tell which one fits.
        fits = [
            hmac.compare_digest(given.encode(), payload.proof(claim, secret).encode())
            for secret in submission.secrets
            if secret
        ]
        if not any(fits):
            raise ProofMismatch(
                "join-hmac-mismatch",
                f"{who}: joinHMAC does not match the join token of {claim.policy_ref}; "
                "sign it again with the policy's token, after every change of the claim",
            )

    async def sign(self, signing: Signing) -> Proof:
        """Return `joinHMAC` of the claim; an empty secret is a `PermanentError`."""
        return Proof(join_hmac=payload.proof(signing.claim, _secret(signing)))

    async def signer(self, signing: Signing) -> str:
        """Return a digest of the secret; an empty secret is a `PermanentError`."""
        return payload.signer(_secret(signing))

    def payload(self, signing: Signing) -> bytes:
        """Return the signed text; it holds no secret."""
        return signed_text(signing.claim)


def _secret(signing: Signing) -> str:
    if not signing.secret:
        raise PermanentError(f"claim {signing.claim.name}: the join token is empty; set joinTokenFrom")
    return signing.secret
