"""A join method in memory by pairs of keys: salted, and challenged if asked. Apart, for its library."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from routerd.errors import EnrollmentRefused, PermanentError
from routerd.model.claim import Claim
from routerd.model.specs.claim_text import bound_text
from routerd.spi import (
    Enrollment,
    JoinEnd,
    JoinMethod,
    JoinTrial,
    JSONValue,
    NoOptions,
    PluginContext,
    Proof,
    Signing,
    Submission,
)


@attrs.frozen(kw_only=True)
class FakeKeys:
    """The `joinOptions` of a policy: the public key of each leaf, as hex digits.

    Added in 1.0.
    """

    keys: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class FakeKey:
    """The `joinOptions` of a client: the text of which its private key is made.

    Added in 1.0.
    """

    seed: str


def public_half(seed: str) -> str:
    """Return the public key of a private key, as hex digits.

    Added in 1.0.
    """
    return _private(seed).public_key().public_bytes_raw().hex()


class FakeKeyEnrollment:
    """Implements `spi.Enrollment` by Ed25519; each proof has a salt of its own.

    Added in 1.0.
    """

    def __init__(self, kind: str, *, salt: Callable[[], str] = lambda: token_hex(8)) -> None:
        self._kind = kind
        self._salt = salt

    async def start(self) -> None:
        """Get ready."""

    async def aclose(self) -> None:
        """Let go."""

    async def verify(self, submission: Submission) -> None:
        """Accept the proof of `sign` by the key that the policy has for the leaf."""
        claim, document, options = submission.claim, submission.proof.document, submission.options
        known = options.keys.get(claim.leaf_id) if isinstance(options, FakeKeys) else None
        if known is None:
            raise EnrollmentRefused("fake-key-unknown", f"claim {claim.name}: the policy has no key for it")
        salt, seal = document.get("salt"), document.get("seal")
        if not isinstance(salt, str) or not isinstance(seal, str):
            raise EnrollmentRefused("fake-proof-invalid", f"claim {claim.name}: no proof of this method")
        text = self._text(submission.claim, submission.challenge, salt)
        try:
            raw = base64.b64decode(seal.encode(errors="replace"), validate=True)
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(known)).verify(raw, text)
        except (InvalidSignature, binascii.Error, ValueError) as error:
            raise EnrollmentRefused(
                "fake-proof-wrong", f"claim {claim.name}: the proof does not match the claim"
            ) from error

    async def sign(self, signing: Signing) -> Proof:
        """Return a proof of a claim, another one each time."""
        salt = self._salt()
        seal = _private(_seed(signing)).sign(self._text(signing.claim, signing.challenge, salt))
        return Proof.of({"salt": salt, "seal": base64.b64encode(seal).decode()})

    async def signer(self, signing: Signing) -> str:
        """Return the public key."""
        return public_half(_seed(signing))

    def _text(self, claim: Claim, challenge: str, salt: str) -> bytes:
        return bound_text(claim, method=self._kind, challenge=challenge) + salt.encode(errors="replace")


def key_enrollment_provider(kind: str = "keys", *, challenges: bool = False) -> JoinMethod:
    """Describe a fake join method by pairs of keys.

    Added in 1.0.
    """

    def create(_context: PluginContext, options: object) -> Enrollment:
        if not isinstance(options, NoOptions):
            raise TypeError(f"the fake has no options, got {type(options).__name__}")
        return FakeKeyEnrollment(kind)

    return JoinMethod(
        kind=kind,
        create=create,
        binds_claim=True,
        policy=FakeKeys,
        client=FakeKey,
        challenges=challenges,
        trial=_trial,
    )


def _trial(leaves: Sequence[str], _directory: Path) -> JoinTrial:
    keys: dict[str, JSONValue] = {leaf: public_half(leaf) for leaf in leaves}
    clients = {leaf: JoinEnd(options={"seed": leaf}) for leaf in leaves}
    return JoinTrial(policy=JoinEnd(options={"keys": keys}), clients=clients)


def _private(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())


def _seed(signing: Signing) -> str:
    if not isinstance(signing.options, FakeKey) or not signing.options.seed:
        raise PermanentError(f"claim {signing.claim.name}: no key to sign it with")
    return signing.options.seed
