"""The enrollment family: the proof in a claim that its leaf may join."""

from typing import Protocol

from routerd.model.claim import Claim, Submission
from routerd.spi.provider import Lifecycle


class Enrollment(Lifecycle, Protocol):
    """A join method; the core has policy, uniqueness, lifetime and storage."""

    async def authenticate(self, submission: Submission) -> None:
        """Check the claim's proof with `submission.secret`.

        Raises `EnrollmentRefused` with a reason code when it does not hold. Comparison is constant-time.
        """

    async def sign(self, claim: Claim, secret: str) -> Claim:
        """Return the claim with its proof filled in."""

    def digest(self, claim: Claim) -> str:
        """Return `sha256:<hex>` over the signed text, the proof and the admission state."""


class PayloadEnrollment(Enrollment, Protocol):
    """A join method with `Capability.SHOWS_PAYLOAD`: a person can read the signed text."""

    def payload(self, claim: Claim) -> bytes:
        """Return the exact bytes that `sign` signs, without any secret."""
