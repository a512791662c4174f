"""A join method in memory: an HMAC over the text of a claim."""

from __future__ import annotations

import hashlib
import hmac

import attrs

from routerd.errors import EnrollmentRefused
from routerd.model.claim import Claim, Submission
from routerd.spi import Enrollment, Provider
from routerd.testing.fakes.describe import describe


class FakeEnrollment:
    """Implements `spi.Enrollment`: an HMAC over the text of the claim.

    Added in 1.0.
    """

    async def start(self) -> None:
        """Get ready."""

    async def aclose(self) -> None:
        """Let go."""

    async def authenticate(self, submission: Submission) -> None:
        """Accept the proof of `sign`; raises `EnrollmentRefused` for every other one."""
        claim = submission.claim
        if not submission.secret:
            raise EnrollmentRefused("NoSecret", f"claim {claim.name}: no secret to check it with")
        if not hmac.compare_digest(claim.join_hmac, _proof(claim, submission.secret)):
            raise EnrollmentRefused("BadProof", f"claim {claim.name}: the proof does not match the claim")

    async def sign(self, claim: Claim, secret: str) -> Claim:
        """Return the claim with its proof."""
        return attrs.evolve(claim, join_hmac=_proof(claim, secret))

    def digest(self, claim: Claim) -> str:
        """Return the digest of the whole claim."""
        text = _text(claim) + claim.join_hmac + str(claim.revoked) + claim.expires_at
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def enrollment_provider(kind: str = "token") -> Provider[Enrollment]:
    """Describe a fake join method."""
    return describe(kind, lambda _context: FakeEnrollment())


def _text(claim: Claim) -> str:
    return repr(attrs.evolve(claim, join_hmac="", expires_at="", revoked=False))


def _proof(claim: Claim, secret: str) -> str:
    return hmac.new(secret.encode(), _text(claim).encode(), hashlib.sha256).hexdigest()
