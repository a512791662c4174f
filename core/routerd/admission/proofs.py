"""Proofs: a leaf proves with its join token that it may join, and later that it holds its claim."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Sequence

import attrs

from routerd.admission.decisions import LONGEST_MESSAGE, Decisions
from routerd.config import secrets
from routerd.control.ports import Source
from routerd.errors import ConfigError, EnrollmentRefused, TransientError
from routerd.model.claim import Claim, Submission
from routerd.model.intent import Named
from routerd.model.specs import SAMEnrollmentPolicySpec, SecretSource
from routerd.spi import Clock, Enrollment, Logger

PROOF_DEADLINE = 5.0
FRESH_SECONDS = 1.0
"""Seconds after which a token is read again, so that a token changes without a restart."""


@attrs.frozen(kw_only=True)
class Tokens:
    """The tokens that hold now, and why others cannot be read."""

    secrets: tuple[str, ...] = attrs.field(repr=False)
    errors: tuple[str, ...] = ()


class JoinTokens:
    """Reads tokens in a thread, because a file may be on a disk that does not answer."""

    def __init__(self, *, clock: Clock, resolve: Callable[[SecretSource], str] = secrets.resolve) -> None:
        self._clock = clock
        self._resolve = resolve
        self._known: dict[str, tuple[SAMEnrollmentPolicySpec, float, Tokens | None]] = {}

    async def of(self, policy: Named[SAMEnrollmentPolicySpec]) -> Tokens | None:
        """Return the policy's tokens, the one of `joinTokenFrom` first; none when it has none."""
        now = self._clock.monotonic()
        known = self._known.get(policy.name)
        if known is not None and known[0] is policy.spec and now - known[1] < FRESH_SECONDS:
            return known[2]
        sources = sources_of(policy.spec)
        found = await asyncio.to_thread(self._read, sources) if sources else None
        self._known[policy.name] = (policy.spec, now, found)
        return found

    def _read(self, sources: Sequence[SecretSource]) -> Tokens:
        held, errors = [], []
        for source in sources:
            try:
                held.append(self._resolve(source))
            except ConfigError as error:
                errors.append(str(error))
        return Tokens(secrets=tuple(held), errors=tuple(errors))


def sources_of(policy: SAMEnrollmentPolicySpec) -> tuple[SecretSource, ...]:
    """Return where the policy's tokens are."""
    first = (policy.join_token_from,) if policy.join_token_from is not None else ()
    return (*first, *policy.join_tokens_from)


class Proofs:
    """Checks proofs with the join method; refuses with `EnrollmentRefused`."""

    def __init__(
        self,
        decisions: Decisions,
        *,
        enrollment: Enrollment,
        clock: Clock,
        log: Logger,
        secret: Callable[[SecretSource], str],
    ) -> None:
        self._decisions = decisions
        self._enrollment = enrollment
        self._clock = clock
        self._log = log
        self._tokens = JoinTokens(clock=clock, resolve=secret)

    async def check_join(
        self, claim: Claim, policy: Named[SAMEnrollmentPolicySpec], source: Source | None
    ) -> None:
        """Check that one of the policy's tokens has signed the claim; an open policy asks for no proof."""
        tokens = await self._tokens.of(policy)
        if tokens is None:
            return
        refusal: EnrollmentRefused | None = None
        for secret in tokens.secrets:
            try:
                async with asyncio.timeout(PROOF_DEADLINE):
                    await self._enrollment.authenticate(Submission(claim=claim, source=source, secret=secret))
            except EnrollmentRefused as error:
                refusal = refusal or error
            except TimeoutError as error:
                raise TransientError(
                    f"claim {claim.name}: the join method did not answer within {PROOF_DEADLINE:g} s"
                ) from error
            else:
                return
        for text in tokens.errors:
            self._log.error("join.token.unreadable", policy=policy.ref, error=text)
        if refusal is not None and (not tokens.errors or refusal.reason != "join-hmac-mismatch"):
            raise refusal
        raise EnrollmentRefused(
            "join-token-unreadable",
            f"claim {claim.name}: not checked; the route reflector cannot read a join token of {policy.ref}; "
            "read the log of the route reflector",
        )

    def check_holder(self, name: str, digest: str, source: Source | None) -> Claim:
        """Return the claim of that name if it holds and the client proves to be its leaf.

        Only a client that has the signed claim can compute its digest. A leaf of the seed's time
        sends no digest; the address that submitted the claim identifies it.
        """
        found = self._decisions.memory.holdings.named(name)
        if found is None or not found.active(self._clock.now()):
            raise EnrollmentRefused(
                "claim-not-accepted", f"claim {name[:LONGEST_MESSAGE]}: not accepted here; submit it first"
            )
        if digest:
            held = (found.digest, self._enrollment.digest(found.claim))
            proven = any(hmac.compare_digest(digest.encode(), each.encode()) for each in held)
        else:
            proven = source == found.source
        if not proven:
            self._log.warning("claim.proof.refused", claim=name, source=str(source))
            raise EnrollmentRefused(
                "proof-required",
                f"claim {name}: not served; the client did not prove that it holds the claim; "
                "send claimDigest of the claim as submitted, or ask from the address that submitted it; "
                "a new submission does both",
            )
        return found.claim
