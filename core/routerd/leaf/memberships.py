"""The leaf's memberships: one enroller for each `SAMEnrollmentClient` of the configuration."""

import asyncio
from collections.abc import Callable

import attrs

from routerd.leaf.enroller import Enroller
from routerd.model.claim import Claim
from routerd.model.intent import Intent, Named
from routerd.model.report.status import Membership
from routerd.model.specs import SAMEnrollmentClaimSpec, SAMEnrollmentClientSpec
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.plugins.join_methods import JoinMethods
from routerd.process.supervisor import Supervisor
from routerd.spi import Clock, Logger
from routerd.store import Store

PATIENCE = 10.0
"""Seconds that an enroller has to end."""

_STUCK = "waiting; its earlier enroller does not end; if this lasts, restart routerd"


@attrs.frozen(kw_only=True)
class _Member:
    client: Named[SAMEnrollmentClientSpec]
    claim: Claim
    enroller: Enroller


class Memberships:
    """Starts, replaces and ends enrollers.

    An enroller that does not end within `patience` seconds (a join method that ignores cancellation)
    is cancelled again and again. Its successor starts when it has ended: two would contradict each
    other before the reflectors.
    """

    def __init__(
        self,
        *,
        store: Store,
        methods: JoinMethods,
        supervisor: Supervisor,
        clock: Clock,
        log: Logger,
        on_change: Callable[[], None],
        on_claim: Callable[[Claim], None],
        patience: float = PATIENCE,
    ) -> None:
        self._store = store
        self._methods = methods
        self._supervisor = supervisor
        self._clock = clock
        self._log = log
        self._on_change = on_change
        self._on_claim = on_claim
        self._patience = patience
        self._intent: Intent | None = None
        self._members: dict[str, _Member] = {}
        self._stuck: set[str] = set()
        self._turn = asyncio.Lock()

    async def follow(self, intent: Intent) -> None:
        """Run exactly the enrollers that `intent` asks for; an unchanged one goes on."""
        async with self._turn:
            self._intent = intent
            wanted = dict(_wanted(intent))
            for name, member in list(self._members.items()):
                if wanted.get(name) != (member.client, member.claim):
                    del self._members[name]
                    await self._end(name)
            for name, (client, claim) in wanted.items():
                if name not in self._members and name not in self._stuck:
                    self._start(name, client, claim)

    async def _end(self, name: str) -> None:
        await self._supervisor.cancel(_task(name), self._patience)
        if self._supervisor.running(_task(name)):
            self._stuck.add(name)
            self._supervisor.spawn(f"end of {_task(name)}", self._outlast(name))

    async def _outlast(self, name: str) -> None:
        """Wait for an enroller that does not end, then start what the present configuration wants."""
        while self._supervisor.running(_task(name)):
            await self._supervisor.cancel(_task(name), self._patience)
        self._stuck.discard(name)
        if self._intent is not None:
            await self.follow(self._intent)

    def _start(self, name: str, client: Named[SAMEnrollmentClientSpec], claim: Claim) -> None:
        def speaks() -> bool:
            member = self._members.get(name)
            return member is not None and member.enroller is enroller

        enroller = Enroller(
            client,
            claim,
            store=self._store,
            methods=self._methods,
            clock=self._clock,
            log=self._log,
            on_change=self._on_change,
            on_claim=lambda signed: self._on_claim(signed) if speaks() else None,
        )
        self._members[name] = _Member(client=client, claim=claim, enroller=enroller)
        self._supervisor.keep(_task(name), enroller.run)

    def retry_now(self) -> None:
        """Ask every reflector again at once."""
        for member in self._members.values():
            member.enroller.retry_now()

    def reasons(self) -> list[str]:
        """Return why memberships are not Ready, as messages."""
        return [f"{_ref(name)}: {_STUCK}" for name in sorted(self._stuck)] + [
            f"{member.client.ref}: {status.message}"
            for member in self._members.values()
            if (status := member.enroller.status).phase != "Ready"
        ]

    def warnings(self) -> list[str]:
        """Return which memberships will end unintentionally, as messages."""
        return [
            f"{member.client.ref}: {status.warning}"
            for member in self._members.values()
            if (status := member.enroller.status).warning
        ]

    def report(self) -> tuple[Membership, ...]:
        """Return every membership, for the status."""
        stuck = (
            Membership(name=_ref(name), phase="Pending", reason="Stuck", message=_STUCK)
            for name in sorted(self._stuck)
        )
        return (*stuck, *(member.enroller.status for member in self._members.values()))


def _task(name: str) -> str:
    return f"enroller {name}"


def _ref(name: str) -> str:
    return f"SAMEnrollmentClient/{name}"


def _wanted(intent: Intent) -> list[tuple[str, tuple[Named[SAMEnrollmentClientSpec], Claim]]]:
    found = []
    for client in intent.of(SAMEnrollmentClientSpec):
        claim = intent.get(client.spec.claim_ref, SAMEnrollmentClaimSpec)
        if claim is not None:
            found.append((client.name, (client, claim_from_spec(claim.name, claim.spec))))
    return found
