"""The leaf's enrollment: keep every route reflector accepting our claim, and learn the reflectors.

The enroller follows each reflector on its own, because one that was down, or lost its state, must
get the claim as soon as it returns. A fetched set stays until a newer one is fetched: a leaf
forwards without the API of any reflector.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from secrets import token_hex
from typing import Protocol

import attrs

from routerd.config import secrets
from routerd.control.enroll_client import (
    ClaimAccepted,
    ClaimRejected,
    EnrollClient,
    Fetched,
    NotDecided,
    client_tls,
)
from routerd.control.ports import PresentedProof
from routerd.errors import ConfigError, ControlError, JoinMethodFailed, ProviderError, StoreError
from routerd.leaf.endpoint_state import PENDING, EndpointState
from routerd.leaf.own_claim import OwnClaim
from routerd.model.claim import Claim, Topology
from routerd.model.intent import Named
from routerd.model.names import Ref
from routerd.model.report.phases import MembershipPhase
from routerd.model.report.status import Membership, MembershipEndpoint
from routerd.model.specs import SAMEnrollmentClientSpec, SecretSource
from routerd.plugins.join_methods import JoinMethods
from routerd.spi import Clock, Logger
from routerd.spi.backoff import doubled
from routerd.store import Store

LONGEST_PAUSE = 60.0


class ReflectorClient(Protocol):
    """Sends requests to route reflectors; `EnrollClient` outside of tests."""

    async def challenge(self, target: str, claim: Claim, method: str) -> str:
        """Fetch a challenge for the proof of a claim."""

    async def submit(self, target: str, claim: Claim, proof: PresentedProof | None = None) -> ClaimAccepted:
        """Submit a claim, with the proof beside it if there is one."""

    async def fetch(self, target: str, rr_set: str, *, claim: Claim, digest: str) -> Fetched:
        """Fetch the reflectors of a set."""


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
        methods: JoinMethods,
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
        self._store = store
        self._clock = clock
        self._log = log
        self._on_change = on_change
        self._connect = connect or partial(_client, client.spec, clock, secret)
        self._chance = chance
        self._rr_set = Ref.parse(claim.rr_set_ref).name
        self._own = OwnClaim(
            claim,
            client,
            store=store,
            methods=methods,
            clock=clock,
            log=log,
            on_claim=on_claim,
            secret=secret,
            nonce=nonce,
        )
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
            claim=self._own.ref,
            claim_digest=self._own.digest,
            endpoints=tuple(
                MembershipEndpoint(
                    target=each.target,
                    accepted=each.holds(self._own.digest),
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
            warning=self._own.warning(self._ends()),
        )

    @property
    def claim(self) -> Claim | None:
        """Return the claim as signed now, or none before the first signature."""
        return self._own.signed

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
            await self._own.sign(renewal_due=self._renewal_due())
            client = await asyncio.to_thread(self._connect)
        except (ConfigError, ControlError, StoreError, ProviderError) as error:
            self._troubled(error)
        else:
            self._trouble, self._trouble_reason, self._troubles = "", "", 0
            await self._ask_all(client)
        self._plan()
        self._tell()

    async def _recall(self) -> None:
        """Load what an earlier run left in the store."""
        topologies = await asyncio.to_thread(self._store.topologies)
        self._topology = topologies.get(self._rr_set)
        await self._own.recall()

    def _renewal_due(self) -> bool:
        now = self._clock.monotonic()
        return any(
            endpoint.holds(self._own.digest) and endpoint.renew_at is not None and now >= endpoint.renew_at
            for endpoint in self._endpoints.values()
        )

    # --- the reflectors ------------------------------------------------------------------------------

    async def _ask_all(self, client: ReflectorClient) -> None:
        """Submit to, or check, every endpoint that is due; they do not wait for each other."""
        claim = self._own.signed
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
            submits = endpoint.must_submit(self._own.digest, now)
            if not submits and not endpoint.must_check(now):
                return None
            try:
                if submits:
                    await self._submit(client, target, claim)
                fetched = (
                    await client.fetch(target, self._rr_set, claim=claim, digest=self._own.digest)
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
                self._failed(target, error, _reason(error))
                return None
            self._endpoints[target] = self._endpoints[target].checked(clock=self._clock)
            self._last_success = self._clock.now()
            return fetched
        return None

    async def _submit(self, client: ReflectorClient, target: str, claim: Claim) -> None:
        proof = await self._own.proof(claim, lambda method: client.challenge(target, claim, method))
        admission = await client.submit(target, claim, proof)
        before = self._endpoints[target]
        self._endpoints[target] = before.accepted(
            self._own.digest,
            admission.life,
            clock=self._clock,
            before=self._spec.state_ttl_refresh_before,
            least=self._spec.retry_backoff.min,
        )
        self._last_success = self._clock.now()
        if not before.holds(self._own.digest) or before.failures:
            self._log.info("claim.accepted", target=target, until=str(self._endpoints[target].until))

    def _failed(self, target: str, error: ProviderError, reason: str) -> None:
        before = self._endpoints[target]
        self._endpoints[target] = before.failed(
            error, reason, clock=self._clock, backoff=self._spec.retry_backoff, chance=self._chance()
        )
        self._own.note_refusal(reason)
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

    # --- troubles and pauses -------------------------------------------------------------------------

    def _troubled(self, error: Exception) -> None:
        if self._trouble != str(error):
            self._log.error("enrollment.failed", error=str(error))
        self._trouble = str(error)
        self._trouble_reason = "not-configured"
        if isinstance(error, StoreError):
            self._trouble_reason = "state-unwritable"
        elif isinstance(error, JoinMethodFailed):
            self._trouble_reason = error.reason
        self._troubles += 1

    def _plan(self) -> None:
        now = self._clock.monotonic()
        if self._trouble:
            backoff = self._spec.retry_backoff
            first, ceiling = backoff.min.total_seconds(), backoff.max.total_seconds()
            self._next_at = now + doubled(self._troubles, first=first, ceiling=ceiling)
        else:
            self._next_at = min(
                (endpoint.next_at(self._own.digest) for endpoint in self._endpoints.values()), default=now
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
        ends = [each.until for each in self._endpoints.values() if each.holds(self._own.digest)]
        return min((end for end in ends if end is not None), default=None)

    def _judgement(self) -> tuple[MembershipPhase, str, str]:
        endpoints = list(self._endpoints.values())
        failing = [endpoint for endpoint in endpoints if endpoint.failures]
        accepted = [endpoint for endpoint in endpoints if endpoint.holds(self._own.digest)]
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


def _reason(error: ProviderError) -> str:
    """Return the code of a failure at a reflector: the reflector's own, or what the failure means."""
    if isinstance(error, (NotDecided, JoinMethodFailed)) and error.reason:
        return error.reason
    return "unreachable" if error.retryable else "refused"


def _same(one: Topology, other: Topology) -> bool:
    return attrs.evolve(one, fetched_at=None) == attrs.evolve(other, fetched_at=None)


def _client(
    spec: SAMEnrollmentClientSpec, clock: Clock, secret: Callable[[SecretSource], str]
) -> ReflectorClient:
    """Return the client for the endpoints of a `SAMEnrollmentClient`, with its token and TLS of now."""
    tls = spec.control_api_tls
    needs_tls = any(target.startswith("https:") for target in spec.bootstrap_endpoints)
    return EnrollClient(
        clock=clock,
        token=secret(spec.control_api_token_from) if spec.control_api_token_from else None,
        tls=client_tls(tls) if needs_tls else None,
        server_name=tls.server_name if tls is not None else None,
    )
