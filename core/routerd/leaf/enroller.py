"""The leaf's enrollment: keep every route reflector accepting our claim, and learn the reflectors.

The enroller follows each reflector on its own, because one that was down, or lost its state, must
get the claim as soon as it returns. A fetched set stays until a newer one is fetched: a leaf
forwards without the API of any reflector.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Protocol

import attrs

from routerd.config import secrets
from routerd.control.enroll_client import ClaimAccepted, ClaimRejected, EnrollClient, Fetched, client_tls
from routerd.errors import ConfigError, ControlError, PermanentError, ProviderError, StoreError
from routerd.leaf.endpoint_state import PENDING, EndpointState
from routerd.model.claim import Claim, Topology
from routerd.model.intent import Named
from routerd.model.moment import exact_text, second_text
from routerd.model.names import Ref
from routerd.model.report.phases import MembershipPhase
from routerd.model.report.status import Membership, MembershipEndpoint
from routerd.model.specs import SAMEnrollmentClientSpec, SecretSource
from routerd.spi import Clock, Enrollment, Logger
from routerd.spi.backoff import doubled
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
LONGEST_PAUSE = 60.0


class ReflectorClient(Protocol):
    """Sends requests to route reflectors; `EnrollClient` outside of tests."""

    async def submit(self, target: str, claim: Claim) -> ClaimAccepted:
        """Submit a claim."""
        ...

    async def fetch(self, target: str, rr_set: str, *, claim: Claim, digest: str) -> Fetched:
        """Fetch the reflectors of a set."""
        ...


class Enroller:
    """Runs one `SAMEnrollmentClient`. `run` never ends; `status` may be read at any time.

    `claim` is the claim as the file has it. `on_claim` gets the signed claim whenever it changes;
    `on_change` is called after every other change of the status or the reflectors.
    """

    def __init__(
        self,
        client: Named[SAMEnrollmentClientSpec],
        claim: Claim,
        *,
        store: Store,
        enrollment: Enrollment,
        clock: Clock,
        log: Logger,
        on_change: Callable[[], None],
        on_claim: Callable[[Claim], None] = lambda _: None,
        connect: Callable[[], ReflectorClient] | None = None,
        secret: Callable[[SecretSource], str] = secrets.resolve,
        chance: Callable[[], float] = random.random,
        nonce: Callable[[], str] = lambda: token_hex(16),
    ) -> None:
        self.name = client.name
        self._name = client.ref
        self._spec = client.spec
        self._claim = claim
        self._store = store
        self._enrollment = enrollment
        self._clock = clock
        self._log = log
        self._on_change = on_change
        self._on_claim = on_claim
        self._connect = connect or self._client
        self._secret = secret
        self._chance = chance
        self._nonce = nonce
        self._signed: Claim | None = None
        self._sign_again = False
        self._digest = ""
        self._topology: Topology | None = None
        self._trouble = ""
        self._trouble_reason = ""
        self._troubles = 0
        self._last_success: datetime | None = None
        self._next_at: float | None = None
        self._retry = asyncio.Event()
        socket = (f"unix:{self._spec.rr_socket}",) if self._spec.rr_socket is not None else ()
        targets = dict.fromkeys((*socket, *self._spec.bootstrap_endpoints))
        self._endpoints = {target: EndpointState(target=target) for target in targets}
        self._shown: Membership | None = None

    # --- what others see ---------------------------------------------------------------------------

    @property
    def status(self) -> Membership:
        """Return the state of the enrollment."""
        phase, reason, message = self._judgement()
        return Membership(
            name=self._name,
            phase=phase,
            reason=reason,
            message=message,
            claim=self._claim.ref,
            claim_digest=self._digest,
            endpoints=tuple(
                MembershipEndpoint(
                    target=each.target,
                    accepted=each.holds(self._digest),
                    until=each.until,
                    failures=each.failures,
                    reason=each.reason,
                    error=each.error,
                )
                for each in self._endpoints.values()
            ),
            reflectors=len(self._topology.reflectors) if self._topology is not None else 0,
            last_success=self._last_success,
            next_attempt=self._moment(self._next_at),
            ends=self._ends(),
            warning=self._warning(),
        )

    @property
    def claim(self) -> Claim | None:
        """Return the claim as signed now, or none before the first signature."""
        return self._signed

    def retry_now(self) -> None:
        """Forget all pauses and ask again at once."""
        for target, endpoint in self._endpoints.items():
            self._endpoints[target] = attrs.evolve(endpoint, ask_at=0.0)
        self._retry.set()

    async def run(self) -> None:
        """Enroll, and stay enrolled."""
        await self._recall()
        while True:
            self._retry.clear()
            await self.step()
            await self._pause()

    async def step(self) -> None:
        """Do what is due now, once; the status shows failures."""
        try:
            await self._sign()
            client = await asyncio.to_thread(self._connect)
        except (ConfigError, ControlError, StoreError, ProviderError) as error:
            self._troubled(error)
        else:
            self._trouble, self._trouble_reason, self._troubles = "", "", 0
            await self._ask_all(client)
        self._plan()
        self._tell()

    # --- the claim -----------------------------------------------------------------------------------

    async def _recall(self) -> None:
        """Load what an earlier run left in the store."""
        topologies = await asyncio.to_thread(self._store.topologies)
        self._topology = topologies.get(self._rr_set)
        if self._signs:
            earlier = (await asyncio.to_thread(self._store.own_claims)).get(self._claim.name)
            if earlier is not None and _unsigned(earlier) == _unsigned(self._claim):
                self._use(earlier)

    @property
    def _rr_set(self) -> str:
        return Ref.parse(self._claim.rr_set_ref).name

    @property
    def _signs(self) -> bool:
        """Say whether this leaf signs its claim itself."""
        return not self._claim.join_hmac and self._spec.join_token_from is not None

    async def _sign(self) -> None:
        """Make sure that a claim to submit exists, signed by the present token."""
        source = self._spec.join_token_from
        if not self._signs or source is None:
            if self._signed != self._claim:
                self._use(self._claim)
            return
        token = await asyncio.to_thread(self._secret, source)
        earlier = self._signed
        if earlier is not None and not self._sign_again and not self._renewal_due():
            if await self._sealed(earlier, token) == earlier:
                return
            self._log.info("claim.token.changed", claim=self._claim.name)
        fresh = attrs.evolve(
            self._claim,
            join_nonce=self._nonce(),
            join_timestamp=_stamp(self._clock.now(), earlier),
        )
        signed = await self._sealed(fresh, token)
        # On the disk before its first use: after a crash we must know every claim that a reflector
        # has of ours, and a nonce is used once.
        await asyncio.to_thread(self._store.keep_own_claim, signed)
        self._sign_again = False
        self._log.info("claim.signed", claim=signed.name, timestamp=signed.join_timestamp)
        self._use(signed)

    def _renewal_due(self) -> bool:
        now = self._clock.monotonic()
        return any(
            endpoint.holds(self._digest) and endpoint.renew_at is not None and now >= endpoint.renew_at
            for endpoint in self._endpoints.values()
        )

    async def _sealed(self, claim: Claim, token: str) -> Claim:
        try:
            async with asyncio.timeout(SIGN_DEADLINE):
                return await self._enrollment.sign(claim, token)
        except TimeoutError as error:
            raise PermanentError(
                f"{claim.ref}: not signed; the join method did not answer within {SIGN_DEADLINE:g} s"
            ) from error

    def _use(self, claim: Claim) -> None:
        self._signed = claim
        self._digest = self._enrollment.digest(claim)
        self._on_claim(claim)

    # --- the reflectors ------------------------------------------------------------------------------

    async def _ask_all(self, client: ReflectorClient) -> None:
        """Submit to, or check, every endpoint that is due; they do not wait for each other."""
        claim = self._signed
        if claim is None:
            return
        async with asyncio.TaskGroup() as group:
            tasks = {
                target: group.create_task(self._ask(client, target, claim)) for target in self._endpoints
            }
        found = [task.result() for task in tasks.values()]
        best = next((fetched for fetched in found if fetched is not None), None)
        if best is not None:
            try:
                await self._keep(best)
            except StoreError as error:
                self._troubled(error)

    async def _ask(self, client: ReflectorClient, target: str, claim: Claim) -> Fetched | None:
        for again in (False, True):
            now = self._clock.monotonic()
            endpoint = self._endpoints[target]
            submits = endpoint.must_submit(self._digest, now)
            if not submits and not endpoint.must_check(now):
                return None
            try:
                if submits:
                    await self._submit(client, target, claim)
                fetched = (
                    await client.fetch(target, self._rr_set, claim=claim, digest=self._digest)
                    if self._rr_set
                    else None
                )
            except ClaimRejected as error:
                if not submits and not again:
                    # The reflector lost its state, or the claim has ended there: submit it again.
                    self._log.warning("claim.forgotten", target=target, error=str(error))
                    self._endpoints[target] = endpoint.forgotten()
                    continue
                self._failed(target, error, error.reason)
                return None
            except ProviderError as error:
                self._failed(target, error, "unreachable" if error.retryable else "refused")
                return None
            self._endpoints[target] = self._endpoints[target].checked(clock=self._clock)
            self._last_success = self._clock.now()
            return fetched
        return None

    async def _submit(self, client: ReflectorClient, target: str, claim: Claim) -> None:
        admission = await client.submit(target, claim)
        before = self._endpoints[target]
        self._endpoints[target] = before.accepted(
            self._digest,
            admission.life,
            clock=self._clock,
            before=self._spec.state_ttl_refresh_before,
            least=self._spec.retry_backoff.min,
        )
        self._last_success = self._clock.now()
        if not before.holds(self._digest) or before.failures:
            self._log.info("claim.accepted", target=target, until=str(self._endpoints[target].until))

    def _failed(self, target: str, error: ProviderError, reason: str) -> None:
        before = self._endpoints[target]
        self._endpoints[target] = before.failed(
            error, reason, clock=self._clock, backoff=self._spec.retry_backoff, chance=self._chance()
        )
        if reason in SIGN_AGAIN:
            self._sign_again = self._signs
        if before.error != str(error):
            self._log.warning("enrollment.failed", target=target, reason=reason, error=str(error))

    async def _keep(self, fetched: Fetched) -> None:
        ends = [each.until for each in self._endpoints.values() if each.until is not None]
        topology = Topology(
            rr_set=self._rr_set,
            reflectors=fetched.reflectors,
            claim_digest=fetched.claim_digest,
            fetched_at=self._clock.now(),
            expires_at=max(ends, default=None),
        )
        before = self._topology
        if before is not None and _same(before, topology):
            return
        await asyncio.to_thread(self._store.keep_topology, topology)
        self._topology = topology
        if before is None or before.reflectors != topology.reflectors:
            self._log.info("topology.fetched", rr_set=self._rr_set, reflectors=len(topology.reflectors))
        self._on_change()

    def _client(self) -> ReflectorClient:
        spec = self._spec
        token = self._secret(spec.control_api_token_from) if spec.control_api_token_from else None
        tls = spec.control_api_tls
        needs_tls = any(target.startswith("https:") for target in self._endpoints)
        return EnrollClient(
            clock=self._clock,
            token=token,
            tls=client_tls(tls) if needs_tls else None,
            server_name=tls.server_name if tls is not None else None,
        )

    # --- troubles and pauses -------------------------------------------------------------------------

    def _troubled(self, error: Exception) -> None:
        if self._trouble != str(error):
            self._log.error("enrollment.failed", error=str(error))
        self._trouble = str(error)
        self._trouble_reason = "state-unwritable" if isinstance(error, StoreError) else "not-configured"
        self._troubles += 1

    def _plan(self) -> None:
        now = self._clock.monotonic()
        if self._trouble:
            backoff = self._spec.retry_backoff
            first, ceiling = backoff.min.total_seconds(), backoff.max.total_seconds()
            self._next_at = now + doubled(self._troubles, first=first, ceiling=ceiling)
        else:
            self._next_at = min(
                (endpoint.next_at(self._digest) for endpoint in self._endpoints.values()), default=now
            )

    async def _pause(self) -> None:
        now = self._clock.monotonic()
        seconds = min(max((self._next_at or now) - now, 0.05), LONGEST_PAUSE)
        waits = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._retry.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _moment(self, at: float | None) -> datetime | None:
        if at is None:
            return None
        return self._clock.now() + timedelta(seconds=max(0.0, at - self._clock.monotonic()))

    def _tell(self) -> None:
        """Report a change of the status."""
        status = self.status
        known = self._shown
        self._shown = status
        if known is None or (status.phase, status.message) != (known.phase, known.message):
            self._on_change()
        if status.warning and (known is None or not known.warning):
            self._log.warning("claim.ends", claim=status.claim, text=status.warning)

    def _ends(self) -> datetime | None:
        ends = [each.until for each in self._endpoints.values() if each.holds(self._digest)]
        return min((end for end in ends if end is not None), default=None)

    def _warning(self) -> str:
        """Return a warning when the claim ends before its renewal, else an empty text."""
        end, claim, now = self._ends(), self._signed, self._clock.now()
        if end is None or claim is None or not claim.join_timestamp:
            return ""
        try:
            life = end - datetime.fromisoformat(claim.join_timestamp)
        except (ValueError, TypeError):
            return ""
        left = end - now
        if left * (LAST_PART if self._signs else LAST_PART_UNSIGNED) >= life:
            return ""
        remedy = (
            "its renewal is late; read the status of each endpoint"
            if self._signs
            else "this leaf cannot renew it; sign it again with a new joinNonce and joinTimestamp "
            "(routerd enroll sign), or give this client joinTokenFrom"
        )
        return f"{claim.ref} ends at {second_text(end)}: {remedy}"

    def _judgement(self) -> tuple[MembershipPhase, str, str]:
        endpoints = list(self._endpoints.values())
        failing = [endpoint for endpoint in endpoints if endpoint.failures]
        accepted = [endpoint for endpoint in endpoints if endpoint.holds(self._digest)]
        if self._trouble:
            phase: MembershipPhase = "Degraded" if self._topology is not None else "Backoff"
            return phase, self._trouble_reason, self._trouble
        if failing:
            held = self._topology is not None or (accepted and not self._rr_set)
            if not accepted and all(endpoint.reason == PENDING for endpoint in failing):
                return "Pending", PENDING, "; ".join(endpoint.error for endpoint in failing)
            words = "; ".join(endpoint.error for endpoint in failing)
            return "Degraded" if held else "Backoff", failing[0].reason, words
        if not accepted:
            return (
                "Pending",
                "not-asked-yet",
                "no route reflector has been asked yet",
            )
        return "Ready", "rrset-current", f"accepted by {len(accepted)} of {len(endpoints)} route reflectors"


def _unsigned(claim: Claim) -> Claim:
    return attrs.evolve(claim, join_nonce="", join_timestamp="", join_hmac="")


def _same(one: Topology, other: Topology) -> bool:
    return attrs.evolve(one, fetched_at=None) == attrs.evolve(other, fetched_at=None)


def _stamp(now: datetime, earlier: Claim | None) -> str:
    """Return the time of signing, later than that of the earlier claim even if the clock went back."""
    moment = now.astimezone(UTC)
    if earlier is not None and earlier.join_timestamp:
        last = datetime.fromisoformat(earlier.join_timestamp)
        moment = max(moment, last + timedelta(microseconds=1))
    return exact_text(moment)
