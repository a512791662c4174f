"""What an administrator sees of a running router: `control.AdminView` over its parts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from routerd import config
from routerd.admission.listener import Admission
from routerd.control.ports import Decision
from routerd.errors import ConfigError, ControlError
from routerd.leaf.memberships import Memberships
from routerd.model import specs
from routerd.model.resource import Resource
from routerd.model.specs.claim_codec import claim_to_document
from routerd.plugins.check import Prepared, prepare
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import TableReport
from routerd.reconcile.wording import key_text
from routerd.report.explain import explain, explanation_document
from routerd.report.explain.gather import gather
from routerd.report.metrics import exposition
from routerd.report.obstacles import Obstacle
from routerd.report.status import Live, ask_live, planned_document, reasons, status_document
from routerd.runtime.assembly import Assembly
from routerd.spi import JSONValue

Document = dict[str, JSONValue]

LIVE_DEADLINE = 5.0
"""Seconds that providers have to say how they do; a status that hangs helps nobody."""


class View:
    """Answers the admin API."""

    def __init__(
        self,
        assembly: Assembly,
        admission: Admission,
        memberships: Memberships,
        *,
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        self._assembly = assembly
        self._router = assembly.router
        self._admission = admission
        self._memberships = memberships
        self._reload = reload

    # --- what is ---------------------------------------------------------------------------------------

    async def reasons(self) -> list[str]:
        """Return in words why the router is not ready; none when it is."""
        return reasons(self._router, self._router.derive(), await self._live(), more=self._more())

    async def obstacles(self) -> tuple[Obstacle, ...]:
        """Return what stands in the way on this host and is not ours to change."""
        return await self._assembly.obstacles.find(self._router.derive())

    async def notes(self) -> list[str]:
        """Return in words what somebody should look at, though nothing waits for it."""
        return [
            *self._admission.notes(),
            *self._memberships.warnings(),
            *self._assembly.store.notes(),
            *(each.text for each in await self.obstacles()),
        ]

    async def status(self) -> Document:
        """Return the whole status."""
        return status_document(
            self._router,
            self._router.derive(),
            await self._live(),
            clock=self._assembly.clock,
            more=self._more(),
            obstacles=await self.notes(),
            extra={
                "enrollment": self._memberships.document(),
                "listener": {"address": self._admission.listening, "error": self._admission.trouble},
            },
        )

    async def resources(self) -> list[JSONValue]:
        """Return every resource of the file and every claim admitted, each with its status."""
        desired, live = self._router.derive(), await self._live()
        reports = self._router.loop.reports()
        obstacles = await self.obstacles()
        items: list[JSONValue] = [
            {
                **config.to_document(resource),
                "status": self._status_of(resource, desired, reports, live, obstacles),
            }
            for resource in self._router.prepared.configuration.resources
        ]
        now = self._assembly.clock.now()
        for admitted in sorted(self._router.knowledge.claims, key=lambda each: each.claim.name):
            document = claim_to_document(admitted.claim)
            phase = "Ready" if admitted.active(now) else "Revoked" if admitted.claim.revoked else "Expired"
            expires = admitted.expires_at
            document["status"] = {
                "phase": phase,
                "admittedAt": admitted.admitted_at.isoformat(),
                "expiresAt": expires.isoformat() if expires is not None else None,
            }
            items.append(document)
        return items

    async def metrics(self) -> str:
        """Return how the router does in the text format of Prometheus."""
        status = await self.status()
        try:
            claims = await self.claims()
        except ControlError:
            # A router without a join method; it still has everything else to tell.
            claims = []
        return exposition(status, claims, now=self._assembly.clock.now())

    async def explain(self, target: IPv4Network) -> Document:
        """Return step by step where packets to an address go, and whether they get there."""
        admits = self._router.prepared.intent.first(specs.SAMEnrollmentPolicySpec) is not None
        facts = await gather(
            self._router,
            target,
            await self._live(),
            claims=self._admission.desk if admits else None,
            memberships=self._memberships.reasons(),
        )
        return explanation_document(explain(facts))

    # --- what would be -----------------------------------------------------------------------------------

    async def plan(self, file: Path | None = None) -> Document:
        """Return what would be changed now, or if `file` were the configuration."""
        candidate: Prepared | None = None
        if file is not None:
            candidate = await asyncio.to_thread(
                prepare, file, plugins=[plugin.info.name for plugin in self._router.prepared.host.plugins]
            )
        dry = await self._router.plan(candidate)
        return planned_document(self._router, dry, candidate.intent if candidate is not None else None)

    # --- what may be done ----------------------------------------------------------------------------------

    async def reload(self) -> Document:
        """Read the configuration file again; `ConfigError` leaves everything as it was."""
        await self._reload()
        return {"reloaded": True}

    async def hurry(self) -> None:
        """Forget backoff and try everything again at once."""
        self._memberships.hurry()
        self._router.loop.retry_now()

    async def claims(self) -> list[JSONValue]:
        """Return every claim that a route reflector knows of, by name, whatever became of it."""
        return await self._admission.desk.claims()

    async def decide(self, name: str, verb: Decision, reason: str) -> Document:
        """Approve, reject or revoke the claim of that name; `EnrollmentRefused` when there is none."""
        return await self._admission.desk.decide(name, verb, reason)

    async def audit(self, *, limit: int, claim: str | None = None) -> list[JSONValue]:
        """Return the latest `limit` decisions on claims, oldest first; of one claim or of all."""
        return await self._admission.desk.audit(limit=limit, claim=claim)

    # --- how ---------------------------------------------------------------------------------------------

    def _more(self) -> list[str]:
        found = self._memberships.reasons()
        if self._admission.trouble:
            found.append(f"enrollment listener: {self._admission.trouble}")
        found += [f"task {name}: {text}" for name, text in self._assembly.supervisor.failures.items()]
        return found

    async def _live(self) -> Live:
        try:
            async with asyncio.timeout(LIVE_DEADLINE):
                return await ask_live(self._router)
        except TimeoutError:
            return Live(errors=(f"the providers did not say within {LIVE_DEADLINE:g} s how they do",))

    def _status_of(
        self,
        resource: Resource[object],
        desired: Desired,
        reports: dict[str, TableReport],
        live: Live,
        obstacles: Sequence[Obstacle],
    ) -> JSONValue:
        ref = resource.id.ref
        if isinstance(resource.spec, specs.SAMEnrollmentClientSpec):
            found = [each for each in self._memberships.document() if _name(each) == ref]
            return found[0] if found else {"phase": "Pending"}
        why: list[JSONValue] = [
            each.message for each in desired.conditions.get(ref, ()) if each.status != "True"
        ]
        owned = 0
        for name, table in desired.tables.items():
            keys = [key for key, owner in table.owners.items() if owner == ref]
            owned += len(keys)
            report = reports.get(name)
            if keys and (report is None or not report.readable):
                why.append(f"{name}: {report.error if report else 'not looked at yet'}")
            elif report is not None:
                why += [f"{key_text(k)}: {report.pending[k].error}" for k in keys if k in report.pending]
        states = {state.neighbour: state for state in live.sessions}
        for neighbour, session in desired.table("bgp/sessions").values.items():
            state = states.get(neighbour)
            if session.owner == ref and (state is None or not state.established):
                why.append(f"session {neighbour}: {state.state if state else 'not there yet'}")
        phase = "Pending" if why else "Ready"
        facts: Document = {"phase": phase, "reasons": why, "objects": owned}
        notes = [each.message for each in desired.conditions.get(ref, ()) if each.type == "Note"]
        device = _device(resource)
        notes += [each.text for each in obstacles if device and each.link == device]
        if notes:
            facts["notes"] = list(notes)
        if isinstance(resource.spec, specs.BGPDynamicPeerSpec):
            facts |= self._discovered(ref, desired, live)
        return facts

    def _discovered(self, ref: str, desired: Desired, live: Live) -> Document:
        wanted = desired.table("bgp/sessions").values
        states = {state.neighbour: state for state in live.sessions}
        mine = {neighbour: session for neighbour, session in wanted.items() if session.owner == ref}
        peers: list[JSONValue] = [
            {
                "remoteAddress": str(neighbour),
                "leafID": session.leaf,
                "state": states[neighbour].state if neighbour in states else "idle",
                "acceptedRoutes": states[neighbour].accepted if neighbour in states else 0,
                "rejectedRoutes": sum(n for _, n in states[neighbour].rejected) if neighbour in states else 0,
            }
            for neighbour, session in mine.items()
        ]
        return {"discoveredPeers": peers, "discoveredPeerCount": len(peers)}


def _device(resource: Resource[object]) -> str:
    """Return the device that a resource stands for, or nothing."""
    match resource.spec:
        case specs.InterfaceSpec():
            return resource.spec.ifname
        case specs.WireGuardInterfaceSpec():
            return resource.spec.ifname or resource.id.name
        case specs.TunnelInterfaceSpec():
            return resource.id.name
        case _:
            return ""


def _name(document: JSONValue) -> JSONValue:
    return document.get("name") if isinstance(document, dict) else None


def restart_reason(present: Prepared, other: Prepared) -> str:
    """Return what of a new configuration needs a restart, or nothing.

    Providers are made once, from the list of plugins, their options and the cloud profiles.
    """
    names = [[plugin.info.name for plugin in each.host.plugins] for each in (present, other)]
    if names[0] != names[1]:
        return "the list of plugins has changed"
    changed = [name for name in other.options if present.options.get(name) != other.options[name]]
    if changed:
        return f"the options of plugin {changed[0]} have changed"
    if _profiles(present) != _profiles(other):
        return "a CloudProviderProfile has changed"
    if present.configuration.node != other.configuration.node:
        return "the name of the router has changed"
    return ""


def _profiles(prepared: Prepared) -> dict[str, tuple[object, object]]:
    return {
        found.name: (found.spec, prepared.profile_options.get(found.name))
        for found in prepared.intent.of(specs.CloudProviderProfileSpec)
    }


def needs_restart(prepared: Prepared, why: str) -> ConfigError:
    """Return the refusal of a reload that only a restart can make."""
    return ConfigError.single(
        prepared.configuration.file,
        f"{why}, and that takes a restart",
        hint="nothing was changed; restart routerd, packets keep flowing meanwhile",
    )
