"""The leaf's own claim: signed with its join token, or as an operator has signed it in the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs

from routerd.errors import PermanentError
from routerd.model.claim import Claim
from routerd.model.moment import exact_text, second_text
from routerd.model.specs import SecretSource
from routerd.spi import Clock, Enrollment, Logger
from routerd.store import Store

SIGN_AGAIN = (
    *("claim-expired", "join-nonce-used", "join-timestamp-not-newer"),
    *("join-timestamp-not-fresh", "join-timestamp-in-future", "signed-before-revocation"),
)
"""Refusals that a newly signed claim can mend. A revocation is not among them: it is a decision."""

LAST_PART = 6
"""Denominator of the part of a claim's life; with less left, a leaf that renews itself is late."""

LAST_PART_UNSIGNED = 4
"""The same for a claim that an operator must sign, which takes longer."""

SIGN_DEADLINE = 5.0


class OwnClaim:
    """The claim of the file, and what this leaf submits for it.

    `signed` is the claim as signed now, none before the first signature, and `digest` its digest.
    With `source` this leaf signs the claim itself. `on_claim` gets `signed` whenever it changes.
    """

    def __init__(
        self,
        claim: Claim,
        source: SecretSource | None,
        *,
        store: Store,
        enrollment: Enrollment,
        clock: Clock,
        log: Logger,
        on_claim: Callable[[Claim], None],
        secret: Callable[[SecretSource], str],
        nonce: Callable[[], str],
    ) -> None:
        self.signed: Claim | None = None
        self.digest = ""
        self._claim = claim
        self._source = None if claim.join_hmac else source
        self._store = store
        self._enrollment = enrollment
        self._clock = clock
        self._log = log
        self._on_claim = on_claim
        self._secret = secret
        self._nonce = nonce
        self._refused = False

    @property
    def ref(self) -> str:
        """Return `SAMEnrollmentClaim/<name>`."""
        return self._claim.ref

    def note_refusal(self, reason: str) -> None:
        """Sign again the next time if that can mend a refusal."""
        self._refused = self._refused or reason in SIGN_AGAIN

    async def recall(self) -> None:
        """Load the claim that an earlier run has signed."""
        if self._source is None:
            return
        earlier = (await asyncio.to_thread(self._store.own_claims)).get(self._claim.name)
        if earlier is not None and _unsigned(earlier) == _unsigned(self._claim):
            self._use(earlier)

    async def sign(self, *, renewal_due: bool) -> None:
        """Make sure that a claim to submit exists, signed by the present token."""
        if self._source is None:
            if self.signed != self._claim:
                self._use(self._claim)
            return
        token = await asyncio.to_thread(self._secret, self._source)
        earlier = self.signed
        if earlier is not None and not self._refused and not renewal_due:
            if await self._sealed(earlier, token) == earlier:
                return
            self._log.info("claim.token.changed", claim=self._claim.name)
        stamp = _stamp(self._clock.now(), earlier)
        fresh = attrs.evolve(self._claim, join_nonce=self._nonce(), join_timestamp=stamp)
        signed = await self._sealed(fresh, token)
        # On the disk before its first use: after a crash we must know every claim that a reflector
        # has of ours, and a nonce is used once.
        await asyncio.to_thread(self._store.keep_own_claim, signed)
        self._refused = False
        self._log.info("claim.signed", claim=signed.name, timestamp=signed.join_timestamp)
        self._use(signed)

    def warning(self, end: datetime | None) -> str:
        """Return a warning when the claim ends at `end`, before its renewal, else an empty text."""
        claim = self.signed
        if end is None or claim is None or not claim.join_timestamp:
            return ""
        try:
            life = end - datetime.fromisoformat(claim.join_timestamp)
        except (ValueError, TypeError):
            return ""
        signs = self._source is not None
        if (end - self._clock.now()) * (LAST_PART if signs else LAST_PART_UNSIGNED) >= life:
            return ""
        remedy = (
            "its renewal is late; read the status of each endpoint"
            if signs
            else "this leaf cannot renew it; sign it again with a new joinNonce and joinTimestamp "
            "(routerd enroll sign), or give this client joinTokenFrom"
        )
        return f"{claim.ref} ends at {second_text(end)}: {remedy}"

    async def _sealed(self, claim: Claim, token: str) -> Claim:
        try:
            async with asyncio.timeout(SIGN_DEADLINE):
                return await self._enrollment.sign(claim, token)
        except TimeoutError as error:
            raise PermanentError(
                f"{claim.ref}: not signed; the join method did not answer within {SIGN_DEADLINE:g} s"
            ) from error

    def _use(self, claim: Claim) -> None:
        self.signed = claim
        self.digest = self._enrollment.digest(claim)
        self._on_claim(claim)


def _unsigned(claim: Claim) -> Claim:
    return attrs.evolve(claim, join_nonce="", join_timestamp="", join_hmac="")


def _stamp(now: datetime, earlier: Claim | None) -> str:
    """Return the time of signing, later than that of the earlier claim even if the clock went back."""
    moment = now.astimezone(UTC)
    if earlier is not None and earlier.join_timestamp:
        last = datetime.fromisoformat(earlier.join_timestamp)
        moment = max(moment, last + timedelta(microseconds=1))
    return exact_text(moment)
