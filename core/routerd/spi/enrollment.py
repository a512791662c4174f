"""The enrollment family: how a claim proves that its leaf may join."""

from __future__ import annotations

from typing import Protocol

from routerd.model.claim import Claim, Submission
from routerd.spi.provider import Lifecycle


class Enrollment(Lifecycle, Protocol):
    """A join method. Policy, uniqueness, lifetime and storage are the core's, not the method's."""

    async def authenticate(self, submission: Submission) -> None:
        """Return when the claim's proof holds for `submission.secret`.

        Raises `EnrollmentRefused` with a reason code otherwise. Comparison is constant-time.
        """
        ...

    async def sign(self, claim: Claim, secret: str) -> Claim:
        """Return the claim with its proof filled in."""
        ...

    def digest(self, claim: Claim) -> str:
        """Return `sha256:<hex>` over what was signed, the proof and the admission state."""
        ...


class PayloadEnrollment(Enrollment, Protocol):
    """A join method with `Capability.SHOWS_PAYLOAD`: what it signs can be read by a person."""

    def payload(self, claim: Claim) -> bytes:
        """Return the very bytes that are signed, without any secret."""
        ...
