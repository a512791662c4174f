"""The enrollment family: join methods, by which a leaf proves that it may join.

The core has policy, uniqueness, replay protection, lifetime and storage. It gives each call a deadline
and asks the method for every claim of a policy that names it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import attrs

from routerd.model.addresses import IPAddress
from routerd.model.claim import Claim
from routerd.model.json_value import JSONValue
from routerd.spi.provider import Lifecycle, NoOptions, Provider

MAX_PROOF = 16 * 1024
"""Maximum bytes of a proof's document, as compact JSON."""


@attrs.frozen(kw_only=True)
class Proof:
    """The proof of a claim: `joinHMAC` of the SAM dialect, or a JSON object that travels beside the claim.

    `text` is the object as compact JSON, so that a proof is a value; make one by `of`, read it by
    `document`. A proof is never printed.

    Added in 1.0.
    """

    join_hmac: str = attrs.field(default="", repr=False)
    text: str = attrs.field(default="", repr=False)

    @classmethod
    def of(cls, document: Mapping[str, JSONValue]) -> "Proof":
        """Return the proof with a document; `ValueError` when it is not JSON or larger than `MAX_PROOF`."""
        try:
            text = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"the proof is not a JSON object: {error}") from error
        if not isinstance(document, Mapping):
            raise ValueError("the proof is not a JSON object")  # noqa: TRY004 - one error type for bad input
        if len(text) > MAX_PROOF:
            raise ValueError(f"the proof is larger than {MAX_PROOF} bytes")
        return cls(text=text)

    @property
    def document(self) -> Mapping[str, JSONValue]:
        """Return the object; empty when the proof has none."""
        return cast("Mapping[str, JSONValue]", json.loads(self.text)) if self.text else {}


@attrs.frozen(kw_only=True)
class Signing:
    """What a leaf is to prove: a claim with nonce and time, and what the leaf has to prove it with.

    `secret` is the content of the client's `joinTokenFrom`, `options` its `joinOptions` as an instance
    of `JoinMethod.client`. `challenge` is that of the reflector, empty for a method without challenges.

    Added in 1.0.
    """

    claim: Claim
    secret: str | None = attrs.field(default=None, repr=False)
    options: object = None
    challenge: str = ""


@attrs.frozen(kw_only=True)
class Submission:
    """A claim as it arrived, with its proof and what the policy has to check it with.

    `proof` is empty when the leaf sent none. `secrets` are the join tokens of the policy that the
    reflector could read, `options` the policy's `joinOptions` as an instance of `JoinMethod.policy`.
    The core has checked that it issued `challenge` to this leaf and key. `source` is none for a socket.

    Added in 1.0.
    """

    claim: Claim
    proof: Proof
    source: IPAddress | None = None
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    options: object = None
    challenge: str = ""


class Enrollment(Lifecycle, Protocol):
    """A join method. One provider serves both ends, and several policies and clients.

    It keeps nothing between calls: a reflector may check the same claim again, and a leaf may sign
    the same claim again. Both may give another proof of it.
    """

    async def sign(self, signing: Signing) -> Proof:
        """Return a proof of `signing.claim`.

        The core calls it for each submission. Raises `ProviderError` when the leaf cannot sign.
        """

    async def signer(self, signing: Signing) -> str:
        """Return what identifies the key that `sign` uses: a public key, or a digest of a shared secret.

        It does not depend on the claim. When it changes, the leaf signs its claim again. At most 256
        printable characters, never the secret itself. The leaf asks at every look, so it must be cheap.
        """

    async def verify(self, submission: Submission) -> None:
        """Check the proof of a claim; return nothing when it holds.

        Raises `EnrollmentRefused` with a reason code of lower-case letters, digits and dashes when it
        does not hold; `ProofMismatch` when it fits none of `submission.secrets`. Comparison of secrets
        is constant-time. Raises `ProviderError` when it cannot tell.
        """


class PayloadEnrollment(Enrollment, Protocol):
    """A join method with `Capability.SHOWS_PAYLOAD`: a person can read the signed text."""

    def payload(self, signing: Signing) -> bytes:
        """Return the exact bytes that `sign` signs, without any secret."""


@attrs.frozen(kw_only=True)
class JoinEnd:
    """What one end of a fabric needs for a join method: its `joinOptions`, as a file has them, and its files.

    `files` are contents by name, without a directory.

    Added in 1.0.
    """

    options: Mapping[str, JSONValue] = attrs.field(factory=dict)
    files: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class JoinTrial:
    """What a new fabric needs for a join method: its policy, and each client by its leaf ID.

    Added in 1.0.
    """

    policy: JoinEnd
    clients: Mapping[str, JoinEnd]


@attrs.frozen(kw_only=True)
class JoinMethod(Provider[Enrollment]):
    """A join method described; `kind` is its name in `joinMethod`.

    `binds_claim` says whether a proof covers the whole claim. If not, whoever reads a proof can put
    another claim beside it, so a policy of the method needs `approval: manual` or a listener with TLS.
    `policy` and `client` are the `attrs` classes of `joinOptions` in a policy and in a client.
    `shared_secret` says that both ends need a join token (`joinTokenFrom`); other methods get none.
    With `challenges` a leaf fetches a challenge of the reflector before it signs. With `sam_proof` the
    proof is `joinHMAC` of the claim, which also covers no more than the SAM dialect does; it must be
    the same each time. `sign_again` are the reason codes after which a leaf gives its claim a new nonce
    and time.

    `trial` returns what a fabric of these leaf IDs needs, with new keys; the caller writes the files into
    the directory, which each end has by the same path, with mode 0600. It writes nothing itself. A method
    that needs no more than `joinTokenFrom` has none.

    Added in 1.0.
    """

    binds_claim: bool
    policy: type[object] = NoOptions
    client: type[object] = NoOptions
    shared_secret: bool = False
    challenges: bool = False
    sam_proof: bool = False
    sign_again: frozenset[str] = frozenset()
    trial: Callable[[Sequence[str], Path], JoinTrial] | None = None
