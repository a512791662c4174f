"""Answers for an administrator: `control.AdminView` over the parts of a running router."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from routerd.admission.listener import ListenerKeeper
from routerd.errors import ConfigError
from routerd.leaf.memberships import Memberships
from routerd.model import specs
from routerd.model.addresses import IPNetwork
from routerd.model.report.explanation import Explanation
from routerd.model.report.plan import Plan
from routerd.model.report.resources import ResourceList
from routerd.model.report.status import ListenerStatus, LoopStatus, Status
from routerd.model.subsystem import Flow
from routerd.plugins.check import Prepared, prepare
from routerd.process.watchdog import Watchdog
from routerd.reconcile.guard import left_behind
from routerd.report.explain import explain
from routerd.report.explain.gather import gather
from routerd.report.live import ask_live
from routerd.report.metrics import exposition
from routerd.report.obstacles import Obstacle
from routerd.report.plan import plan_of
from routerd.report.reasons import reasons
from routerd.report.resources import Moment, resources_of
from routerd.report.status import status_of
from routerd.runtime import secret_files
from routerd.runtime.assembly import Assembly


class View:
    """Answers the admin API."""

    def __init__(
        self,
        assembly: Assembly,
        admission: ListenerKeeper,
        memberships: Memberships,
        watchdog: Watchdog,
        *,
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        self._assembly = assembly
        self._router = assembly.router
        self._admission = admission
        self._memberships = memberships
        self._watchdog = watchdog
        self._reload = reload

    # --- what is ---------------------------------------------------------------------------------------

    async def reasons(self) -> list[str]:
        """Return the reasons why the router is not ready; none when it is."""
        return reasons(self._router, self._router.derive(), await ask_live(self._router), more=self._more())

    async def obstacles(self) -> tuple[Obstacle, ...]:
        """Return settings of this host that block traffic and that routerd may not change."""
        return await self._assembly.obstacles.find(self._router.derive())

    async def notes(self) -> list[str]:
        """Return notes: worth a look, and no reason not to be ready."""
        return [
            *self._admission.notes(),
            *self._memberships.warnings(),
            *self._assembly.made.enrollments.troubles(),
            *(
                f"{name}: left behind; it ignores its cancellation, restart routerd to end it"
                for name in left_behind()
            ),
            *self._watchdog.notes(),
            *(f"plugin {name}: {text}" for name, text in self._restarts().items()),
            *self._assembly.store.notes(),
            *map(str, await asyncio.to_thread(secret_files.problems, self._router.prepared)),
            *(each.text for each in await self.obstacles()),
        ]

    async def status(self) -> Status:
        """Return the whole status."""
        lag = self._watchdog.lag
        return status_of(
            self._router,
            self._router.derive(),
            await ask_live(self._router),
            now=self._assembly.clock.now(),
            more=self._more(),
            obstacles=await self.notes(),
            enrollment=self._memberships.report(),
            listener=ListenerStatus(address=self._admission.listening, error=self._admission.trouble),
            restarts=self._restarts(),
            loop=LoopStatus(
                lag_seconds=round(lag.last, 3), longest_lag_seconds=round(lag.longest, 3), blocked=lag.blocked
            ),
        )

    async def resources(self) -> ResourceList:
        """Return every resource of the file and every claim admitted, each with its status."""
        moment = Moment(
            desired=self._router.derive(),
            live=await ask_live(self._router),
            reports=self._router.loop.reports(),
            memberships=self._memberships.report(),
            obstacles=await self.obstacles(),
        )
        return resources_of(self._router, moment, self._assembly.clock.now())

    async def metrics(self) -> str:
        """Return the metrics in the text format of Prometheus."""
        status = await self.status()
        claims = await self._admission.desk.claims()
        return exposition(status, claims, now=self._assembly.clock.now())

    async def explain(self, target: IPNetwork, flow: Flow | None = None) -> Explanation:
        """Return step by step where packets to an address go, and whether they get there.

        `flow` says where they come from, and what they are.
        """
        admits = self._router.prepared.intent.first(specs.SAMEnrollmentPolicySpec) is not None
        facts = await gather(
            self._router,
            target,
            await ask_live(self._router),
            claims=self._admission.desk if admits else None,
            memberships=self._memberships.reasons(),
            flow=flow,
        )
        return explain(facts)

    # --- what would be -----------------------------------------------------------------------------------

    async def plan(self, file: Path | None = None) -> Plan:
        """Return what the daemon would change, now or with `file` as its configuration."""
        candidate: Prepared | None = None
        if file is not None:
            candidate = await asyncio.to_thread(
                prepare, file, plugins=[plugin.info.name for plugin in self._router.prepared.host.plugins]
            )
        dry = await self._router.plan(candidate)
        return plan_of(self._router, dry, candidate.intent if candidate is not None else None)

    # --- what may be done ----------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Read the configuration file again; `ConfigError` leaves everything as it was."""
        await self._reload()

    async def hurry(self) -> None:
        """Drop all pauses and retry everything at once."""
        self._memberships.retry_now()
        self._router.loop.retry_now()

    # --- how ---------------------------------------------------------------------------------------------

    def _restarts(self) -> dict[str, str]:
        return self._router.remaker.waiting(self._router.prepared.options)

    def _more(self) -> list[str]:
        found = self._memberships.reasons()
        if (trouble := self._assembly.store.trouble) is not None:
            found.append(f"{trouble}; nothing that must last is accepted until then")
        if self._admission.trouble:
            found.append(f"enrollment listener: {self._admission.trouble}")
        found += [f"task {name}: {text}" for name, text in self._assembly.supervisor.failures.items()]
        return found


def restart_reason(present: Prepared, other: Prepared) -> str:
    """Return the part of a new configuration that needs a restart, or nothing.

    The list of plugins and the cloud profiles are read once; `Remaker` is for options of plugins.
    """
    names = [[plugin.info.name for plugin in each.host.plugins] for each in (present, other)]
    if names[0] != names[1]:
        return "the list of plugins has changed"
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
    """Return the refusal of a reload that needs a restart."""
    return ConfigError.single(
        prepared.configuration.file,
        f"{why}, and this needs a restart",
        hint="nothing was changed; restart routerd, and packets keep flowing during the restart",
    )
