"""The proof of the join method `token`; the signed text is that of the SAM dialect."""

import hmac

from routerd.model.claim import Claim
from routerd.model.specs.claim_text import signed_text


def proof(claim: Claim, secret: str) -> str:
    """Return the HMAC-SHA256 of the signed text as 64 lower-case hex digits.

    Bytes of the secret that are not UTF-8 are lone surrogates.
    """
    return hmac.digest(_key(secret), signed_text(claim), "sha256").hex()


def signer(secret: str) -> str:
    """Return a digest that identifies a secret and does not tell it."""
    return "hmac-sha256:" + hmac.digest(_key(secret), b"routerd join token", "sha256").hex()[:32]


def _key(secret: str) -> bytes:
    return secret.encode(errors="surrogateescape")
