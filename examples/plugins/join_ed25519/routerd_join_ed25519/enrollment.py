"""The join method: the leaf signs claim and challenge, the reflector checks with the key that it has."""

import asyncio
import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from routerd.errors import EnrollmentRefused, PermanentError
from routerd.model.specs.claim_text import bound_text
from routerd.spi import Proof, Signing, Submission
from routerd_join_ed25519 import keys
from routerd_join_ed25519.config import ClientKey, PolicyKeys

KIND = "ed25519"


class Ed25519Enrollment:
    """Implements `routerd.spi.Enrollment`. It holds no key: each call brings the options of its file."""

    async def start(self) -> None:
        """Do nothing: the method has no resources."""

    async def aclose(self) -> None:
        """Do nothing: the method has no resources."""

    async def sign(self, signing: Signing) -> Proof:
        """Return the signature of a claim and the reflector's challenge."""
        key = await _private(signing)
        text = bound_text(signing.claim, method=KIND, challenge=signing.challenge)
        return Proof.of({"signature": base64.b64encode(key.sign(text)).decode()})

    async def signer(self, signing: Signing) -> str:
        """Return the public key; the leaf signs again when the file has another one."""
        return keys.public_text(await _private(signing))

    async def verify(self, submission: Submission) -> None:
        """Check the signature with each key that the policy has for the leaf."""
        claim, options = submission.claim, submission.options
        who = f"claim {claim.name} of leaf {claim.leaf_id}"
        known = options.keys.get(claim.leaf_id, ()) if isinstance(options, PolicyKeys) else ()
        if not known:
            raise EnrollmentRefused(
                "ed25519-key-unknown",
                f"{who}: {claim.policy_ref} has no key for it; add its public key to joinOptions.keys",
            )
        signature = _signature(submission.proof)
        if signature is None:
            raise EnrollmentRefused(
                "ed25519-proof-invalid", f"{who}: its proof has no signature of 64 bytes in base64"
            )
        text = bound_text(claim, method=KIND, challenge=submission.challenge)
        if not any(_holds(key, signature, text) for key in known):
            raise EnrollmentRefused(
                "ed25519-signature-wrong",
                f"{who}: its signature is of another key, claim or challenge; compare its public key with "
                "joinOptions.keys",
            )


async def _private(signing: Signing) -> Ed25519PrivateKey:
    if not isinstance(signing.options, ClientKey):
        raise PermanentError(f"claim {signing.claim.name}: no key to sign it with; set joinOptions")
    return await asyncio.to_thread(keys.read, signing.options.private_key_file)


def _signature(proof: Proof) -> bytes | None:
    text = proof.document.get("signature")
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == 64 else None


def _holds(key: str, signature: bytes, text: bytes) -> bool:
    try:
        keys.public_key(key).verify(signature, text)
    except InvalidSignature:
        return False
    return True
