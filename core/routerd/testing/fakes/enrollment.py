"""A join method in memory: `joinHMAC` by a shared secret. One by keys is in `enrollment_keys`."""

import hashlib
import hmac

from routerd.errors import EnrollmentRefused, PermanentError, ProofMismatch
from routerd.model.specs.claim_text import signed_text
from routerd.spi import Enrollment, JoinMethod, NoOptions, PluginContext, Proof, Signing, Submission


class FakeEnrollment:
    """Implements `spi.Enrollment` like the SAM dialect: an HMAC by a shared secret.

    Added in 1.0.
    """

    async def start(self) -> None:
        """Get ready."""

    async def aclose(self) -> None:
        """Let go."""

    async def verify(self, submission: Submission) -> None:
        """Accept the proof of `sign`; raises `EnrollmentRefused` for every other one."""
        claim, given = submission.claim, submission.proof.join_hmac
        if not submission.secrets:
            raise EnrollmentRefused("fake-secret-missing", f"claim {claim.name}: no secret to check it with")
        proofs = [_hmac(signed_text(claim), secret) for secret in submission.secrets]
        if not any(hmac.compare_digest(given.encode(), proof.encode()) for proof in proofs):
            raise ProofMismatch("fake-proof-wrong", f"claim {claim.name}: the proof does not match the claim")

    async def sign(self, signing: Signing) -> Proof:
        """Return the proof of a claim."""
        return Proof(join_hmac=_hmac(signed_text(signing.claim), _secret(signing)))

    async def signer(self, signing: Signing) -> str:
        """Return a digest of the secret."""
        return _hmac(b"signer", _secret(signing))


def enrollment_provider(kind: str = "token") -> JoinMethod:
    """Describe a fake join method of the dialect."""
    return JoinMethod(kind=kind, create=_create, binds_claim=True, shared_secret=True, sam_proof=True)


def _create(_context: PluginContext, options: object) -> Enrollment:
    if not isinstance(options, NoOptions):
        raise TypeError(f"the fake has no options, got {type(options).__name__}")
    return FakeEnrollment()


def _secret(signing: Signing) -> str:
    if not signing.secret:
        raise PermanentError(f"claim {signing.claim.name}: no secret to sign it with")
    return signing.secret


def _hmac(text: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
