"""The leaf's own claim: proven by its join method, or as an operator has signed it in the file."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import attrs

from routerd.control.ports import PresentedProof
from routerd.errors import ProviderError
from routerd.model.claim import Claim
from routerd.model.intent import Named
from routerd.model.moment import exact_text, second_text
from routerd.model.specs import SAMEnrollmentClientSpec, SecretSource
from routerd.model.specs.claim_text import digest
from routerd.model.specs.enrollment import NO_JOIN_METHOD
from routerd.plugins.join_methods import JoinMethods
from routerd.spi import Clock, Logger, Signing
from routerd.store import Store

IN_FUTURE = "join-timestamp-in-future"
SIGN_AGAIN = frozenset((
    *("claim-expired", "join-nonce-used", "join-timestamp-not-newer"),
    *("join-timestamp-not-fresh", IN_FUTURE, "signed-before-revocation"),
))  # fmt: skip
"""Refusals that a newly signed claim can mend. A revocation is not among them: it is a decision."""

LAST_PART = 6
"""Denominator of the part of a claim's life; with less left, a leaf that renews itself is late."""

LAST_PART_UNSIGNED = 4
"""The same for a claim that an operator must sign, which takes longer."""


class OwnClaim:
    """The claim of the file, and what this leaf submits for it.

    `signed` is the claim as this leaf submits it now, none before the first signature, and `digest` its
    digest. A leaf that signs gives the claim a nonce and a time; it gives it others only when the claim
    or the key of the join method has changed, a renewal is due, or a refusal asks for it. A new proof of
    the same claim changes nothing. `on_claim` gets `signed` whenever it changes.
    """

    def __init__(
        self,
        claim: Claim,
        client: Named[SAMEnrollmentClientSpec],
        *,
        store: Store,
        methods: JoinMethods,
        clock: Clock,
        log: Logger,
        on_claim: Callable[[Claim], None],
        secret: Callable[[SecretSource], str],
        nonce: Callable[[], str],
    ) -> None:
        self.signed: Claim | None = None
        self.digest = ""
        self._claim = claim
        self._client = client
        self._method = client.spec.join_method
        self._store = store
        self._methods = methods
        self._clock = clock
        self._log = log
        self._on_claim = on_claim
        self._secret = secret
        self._nonce = nonce
        self._signer = ""
        self._refused = False
        self._ahead = False

    @property
    def ref(self) -> str:
        """Return `SAMEnrollmentClaim/<name>`."""
        return self._claim.ref

    @property
    def signs(self) -> bool:
        """Say whether this leaf signs the claim itself; `JoinMethodFailed` when its method is missing."""
        if self._method == NO_JOIN_METHOD or self._claim.join_hmac:
            return False
        needs_token = self._methods.described(self._method).shared_secret
        return not needs_token or self._client.spec.join_token_from is not None

    def note_refusal(self, reason: str) -> None:
        """Sign again the next time if that can mend a refusal."""
        again = SIGN_AGAIN
        if self._method != NO_JOIN_METHOD:
            again |= self._methods.described(self._method).sign_again
        self._refused = self._refused or reason in again
        self._ahead = self._ahead or reason == IN_FUTURE

    async def recall(self) -> None:
        """Load the claim that an earlier run has signed."""
        if not self.signs:
            return
        earlier = (await asyncio.to_thread(self._store.own_claims)).get(self._claim.name)
        if earlier is not None and _unsigned(earlier) == _unsigned(self._claim):
            self._signer = (await asyncio.to_thread(self._store.own_signers)).get(earlier.name, "")
            self._use(earlier)

    async def sign(self, *, renewal_due: bool) -> None:
        """Make sure that there is a claim to submit, signed by the present key where this leaf signs."""
        if not self.signs:
            if self.signed != self._claim:
                self._use(self._claim)
            return
        signing = await self._signing(self._claim)
        signer, earlier = await self._methods.signer(self._method, signing), self.signed
        if earlier is not None and not self._refused and not renewal_due:
            if self._signer == signer:
                return
            if not self._signer and await self._sealed(earlier, signing) == earlier:
                # An earlier routerd signed it and did not note its key: the same one.
                await self._keep(earlier, signer)
                return
            self._log.info("claim.signer.changed", claim=self._claim.name, method=self._method)
        # A stamp of a clock that was ahead binds nobody: no reflector has accepted it.
        stamp = _stamp(self._clock.now(), None if self._ahead else earlier)
        fresh = attrs.evolve(self._claim, join_nonce=self._nonce(), join_timestamp=stamp)
        signed = await self._sealed(fresh, signing)
        # On the disk before its first use: after a crash we must know every claim that a reflector
        # has of ours, and a nonce is used once.
        await self._keep(signed, signer)
        self._refused = self._ahead = False
        self._log.info(
            "claim.signed", claim=signed.name, timestamp=signed.join_timestamp, method=self._method
        )
        self._use(signed)

    async def proof(self, claim: Claim, challenge: Callable[[str], Awaitable[str]]) -> PresentedProof | None:
        """Return the proof to submit beside a claim; none where `joinHMAC` is the proof, or there is none.

        `challenge` fetches a challenge of the reflector for a join method, if that wants one.
        """
        if not self.signs or self._methods.described(self._method).sam_proof:
            return None
        method = self._methods.described(self._method)
        given = await challenge(self._method) if method.challenges else ""
        signing = attrs.evolve(await self._signing(claim), challenge=given)
        made = await self._methods.sign(self._method, signing)
        return PresentedProof(method=self._method, challenge=given, proof=made)

    def warning(self, end: datetime | None) -> str:
        """Return a warning when the claim ends at `end`, before its renewal, else an empty text."""
        claim = self.signed
        if end is None or claim is None or not claim.join_timestamp:
            return ""
        try:
            life = end - datetime.fromisoformat(claim.join_timestamp)
            signs = self.signs
        except (ValueError, TypeError, ProviderError):
            return ""
        if (end - self._clock.now()) * (LAST_PART if signs else LAST_PART_UNSIGNED) >= life:
            return ""
        remedy = (
            "its renewal is late; read the status of each endpoint"
            if signs
            else "this leaf cannot renew it; sign it again with a new joinNonce and joinTimestamp "
            "(routerd enroll sign), or give this client joinTokenFrom"
        )
        return f"{claim.ref} ends at {second_text(end)}: {remedy}"

    async def _signing(self, claim: Claim) -> Signing:
        source = self._client.spec.join_token_from
        token = await asyncio.to_thread(self._secret, source) if source is not None else None
        return Signing(claim=claim, secret=token, options=self._methods.options(self._client.ref))

    async def _sealed(self, claim: Claim, signing: Signing) -> Claim:
        """Return the claim with `joinHMAC`, where that is the proof of the method."""
        if not self._methods.described(self._method).sam_proof:
            return claim
        proof = await self._methods.sign(self._method, attrs.evolve(signing, claim=claim))
        return attrs.evolve(claim, join_hmac=proof.join_hmac)

    async def _keep(self, claim: Claim, signer: str) -> None:
        await asyncio.to_thread(self._store.keep_own_claim, claim, signer)
        self._signer = signer

    def _use(self, claim: Claim) -> None:
        self.signed = claim
        self.digest = digest(claim)
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
