"""The router: providers brought up, facts gathered, tables bound to the loop.

`Router` owns no policy. It starts what the configuration asks for, keeps `Knowledge` current, and
gives the loop a function that derives the desired state from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import attrs

from routerd.clouds import takeover
from routerd.clouds.bindings import fabric_bindings, gates
from routerd.clouds.gate import Gate
from routerd.clouds.site_routes import SiteRoutes
from routerd.clouds.site_watch import SiteWatch
from routerd.errors import ProviderError
from routerd.model import specs
from routerd.model.backoff import doubled
from routerd.model.claim import AdmittedClaim, Claim, Topology
from routerd.model.intent import Intent
from routerd.model.names import PublicKey
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.rr_set import static_reflectors
from routerd.model.tunnel import Tunnel
from routerd.plugins.check import Prepared
from routerd.plugins.providers import Made
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.derive.inputs import builtin_overhead
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import Binding, Loop
from routerd.runtime.knowledge import Knowledge
from routerd.spi import Clock, Fabric, Lifecycle, Routing, Table, Transport
from routerd.store import JournalBook

START_DEADLINE = 60.0
RECOVERY_SECONDS = 180.0
"""How long nothing is removed after a damaged state file; leaves ask every minute whether they are known."""

RETRY_CEILING = 60.0


class RouterStore(Protocol):
    """What the router needs of the store.

    `salvaged` says what was taken over from a damaged file when this one was opened.
    """

    @property
    def journal(self) -> JournalBook:
        """Return the journal of changes outside the host."""
        ...

    @property
    def salvaged(self) -> object | None:
        """Return none unless the file was damaged."""
        ...

    def admitted(self) -> tuple[AdmittedClaim, ...]:
        """Return the admitted claims."""
        ...

    def topologies(self) -> dict[str, Topology]:
        """Return the fetched topologies by the name of their set."""
        ...


@attrs.frozen(kw_only=True)
class HostTables:
    """The core's own tables."""

    routes: Table[Any, Any]  # Any: bound to the loop, which only compares
    addresses: Table[Any, Any]  # Any: as above
    sysctls: Table[Any, Any]  # Any: as above
    firewall: Table[Any, Any]  # Any: as above


class Router:
    """Brings the providers up and keeps the loop supplied."""

    def __init__(
        self,
        prepared: Prepared,
        made: Made,
        *,
        tables: HostTables,
        store: RouterStore,
        supervisor: Supervisor,
        clock: Clock,
        log: Log,
        on_pass: Callable[[], None] = lambda: None,
    ) -> None:
        self.prepared = prepared
        self.made = made
        self.knowledge = Knowledge()
        self._tables = tables
        self._store = store
        self._supervisor = supervisor
        self._clock = clock
        self._log = log
        self._admitted: Callable[[], tuple[AdmittedClaim, ...]] = store.admitted
        self._started: list[Lifecycle] = []
        self._runs_lanes = True
        self._holds_down = True
        self._recovering = store.salvaged is not None
        self.loop = Loop([], derive=self.derive, clock=clock, log=log, on_pass=on_pass)
        self.site = SiteWatch(clock=clock, log=log, reread=self.loop.reread)
        for binding in self._host_bindings():
            self.loop.bind(binding)

    # --- life --------------------------------------------------------------------------------------

    async def start(self, *, lanes: bool = True, hold_down: bool = True) -> None:
        """Start everything; what cannot start yet is tried again in the background.

        Without `lanes` the tables are bound but nothing compares them, for who only wants to look.
        Without `hold_down` nothing is kept for a time, for who does not stay to remove it later.
        """
        self._runs_lanes = lanes
        self._holds_down = hold_down
        self.refresh()
        self.site.hear(self.inputs())
        for name, transport in self.made.transports.items():
            self._bring_up(f"transport/{name}", transport, partial(self._bind_transport, name, transport))
        for name, routing in self.made.routings.items():
            self._bring_up(f"routing/{name}", routing, partial(self._bind_routing, name, routing))
        for name, fabric in self.made.fabrics.items():
            self._bring_up(f"fabric/{name}", fabric, partial(self._bind_fabric, name, fabric))
        if self.made.encrypting() is not None:
            for found in self.prepared.intent.of(specs.WireGuardInterfaceSpec):
                if found.spec.private_key_file is not None:
                    self.knowledge.waiting[f"key/{found.name}"] = "starting"
        self._supervisor.keep("keys", self._gather_keys)
        self._supervisor.keep("site", lambda: self.site.run(lambda: self.prepared.intent))
        if self._recovering:
            self.knowledge.waiting["state"] = (
                f"the state file was damaged: nothing is removed for {RECOVERY_SECONDS:g} s, "
                "until leaves have enrolled again"
            )
            self._supervisor.spawn("recovery", self._recover())
        self._run_lane("host")

    async def aclose(self) -> None:
        """Let go of everything; the data plane stays as it is."""
        for provider in reversed(self._started):
            try:
                async with asyncio.timeout(10):
                    await provider.aclose()
            except (ProviderError, TimeoutError) as error:
                self._log.warning("provider.close.failed", error=str(error))

    def replace(self, prepared: Prepared) -> None:
        """Use another configuration from the next pass on."""
        self.prepared = prepared
        self.site.restart()
        self.refresh()
        self.site.hear(self.inputs())
        self.loop.wake()

    def wake(self, lane: str | None = None) -> None:
        """Make one lane, or all, look soon; a lane that does not exist yet has nothing to look at."""
        if lane is None or lane in self.loop.lanes:
            self.loop.wake(lane)

    def links_changed(self) -> None:
        """Try routes again that could not be made: the way to their next hops may be there now.

        A gateway that was away for an hour would else be without its routes for minutes.
        """
        self.loop.retry_role("routes")

    def gates(self) -> dict[str, Gate]:
        """Return the gate of each cloud table, by the table's name."""
        return gates(self.loop.bindings())

    async def plan(self, prepared: Prepared | None = None) -> Loop:
        """Return a loop that has compared everything once and changed nothing.

        With `prepared` it compares with what that configuration would ask for.
        """
        intended = prepared or self.prepared
        dry = Loop(
            self.loop.bindings(),
            derive=lambda: self._desired(self.inputs(intended)),
            clock=self._clock,
            log=self._log,
        )
        for lane in dry.lanes:
            await dry.run_once(lane, dry_run=True)
        return dry

    def refresh(self) -> None:
        """Take over claims and topologies as they are now, and wake the loop."""
        self.knowledge.claims = self._admitted()
        self.knowledge.topologies = self._store.topologies()
        if "host" in self.loop.lanes:
            self.loop.wake()

    def follow_claims(self, admitted: Callable[[], tuple[AdmittedClaim, ...]]) -> None:
        """Take admitted claims from who admits them, who has them at hand, instead of the disk."""
        self._admitted = admitted

    def own_claim(self, claim: Claim) -> None:
        """Take over a claim of ours as it was last signed."""
        self.knowledge.own_claims = {**self.knowledge.own_claims, claim.name: claim}
        self.site.hear(self.inputs())
        self.loop.wake()

    # --- derivation --------------------------------------------------------------------------------

    def derive(self) -> Desired:
        """Return the desired state by what is known now."""
        return self._desired(self.inputs())

    def _desired(self, inputs: Inputs) -> Desired:
        desired = self.site.noted(derive(inputs), inputs.intent)
        return desired.deleting_nothing() if self._recovering else desired

    async def _recover(self) -> None:
        await self._clock.sleep(RECOVERY_SECONDS)
        self._recovering = False
        self.knowledge.waiting.pop("state", None)
        self.loop.wake()

    def inputs(self, prepared: Prepared | None = None) -> Inputs:
        """Return everything that derivation may look at, for `prepared` or the present configuration."""
        known = self.knowledge
        intent = (prepared or self.prepared).intent
        return Inputs(
            intent=intent,
            now=self._clock.now(),
            claims=known.claims,
            own_claims={**_claims_of_file(intent), **known.own_claims},
            topologies=known.topologies,
            static_reflectors=static_reflectors(intent),
            learned=known.learned,
            instances=dict(known.instances),
            public_keys=dict(known.public_keys),
            overhead=self._overhead,
        )

    def _overhead(self, tunnel: Tunnel) -> int:
        transport = self.made.transports.get(tunnel.mode)
        return transport.overhead(tunnel) if transport is not None else builtin_overhead(tunnel)

    # --- providers ---------------------------------------------------------------------------------

    def _bring_up(self, name: str, provider: Lifecycle, ready: Callable[[], Awaitable[None]]) -> None:
        """Start a provider in the background, again and again until it succeeds."""

        async def work() -> None:
            failures = 0
            while True:
                try:
                    async with asyncio.timeout(START_DEADLINE):
                        await provider.start()
                        await ready()
                    break
                except (ProviderError, TimeoutError) as error:
                    text = str(error) or f"did not start within {START_DEADLINE:g} s"
                    if self.knowledge.waiting.get(name) != text:
                        self._log.warning("provider.start.failed", provider=name, error=text)
                    self.knowledge.waiting[name] = text
                failures += 1
                await self._clock.sleep(doubled(failures, ceiling=RETRY_CEILING))
            self.knowledge.waiting.pop(name, None)
            self._started.append(provider)
            self._log.debug("provider.started", provider=name)
            self.loop.wake()

        self.knowledge.waiting[name] = "starting"
        self._supervisor.spawn(f"start {name}", work())

    def _host_bindings(self) -> list[Binding]:
        tables = self._tables
        return [
            Binding(name="sysctls", role="sysctls", table=tables.sysctls),
            Binding(name="addresses", role="addresses", table=tables.addresses),
            Binding(name="firewall", role="firewall", table=tables.firewall),
            Binding(name="routes", role="routes", table=tables.routes),
        ]

    async def _bind_transport(self, mode: str, transport: Transport) -> None:
        role = "tunnels.wireguard" if mode == "wireguard" else "tunnels"
        self.loop.bind(Binding(name=f"tunnels/{mode}", role=role, table=transport.tunnels))
        encrypting = self.made.encrypting()
        if encrypting is transport:
            self.loop.bind(Binding(name=f"peers/{mode}", role="peers", table=encrypting.peers))

    async def _bind_routing(self, kind: str, routing: Routing) -> None:
        for role in ("speakers", "admission", "sessions", "advertisements"):
            self.loop.bind(Binding(name=f"{kind}/{role}", role=role, table=getattr(routing, role)))
        self._supervisor.keep(f"{kind}/learned", lambda: self._follow(routing))

    async def _follow(self, routing: Routing) -> None:
        async for routes in routing.learned():
            if routes != self.knowledge.learned:
                self.knowledge.learned = routes
                self.site.hear(self.inputs())
                self.loop.wake()

    async def _bind_fabric(self, name: str, fabric: Fabric) -> None:
        self.knowledge.instances[name] = await fabric.instance()
        profile = self.prepared.intent.get(name, specs.CloudProviderProfileSpec)
        spec = profile.spec if profile is not None else specs.CloudProviderProfileSpec(provider=name)
        own = self.knowledge.instances[name].next_hop
        hold_down = spec.takeover_hold_down.total_seconds()
        judge = takeover.RoutePermission(self.site.election, own, hold_down, stays=self._runs_lanes)
        site = partial(SiteRoutes, permission=judge, clock=self._clock)
        for binding in fabric_bindings(
            name,
            fabric,
            self._store.journal,
            spec,
            clock=self._clock,
            site=site,
            holds_down=self._holds_down,
        ):
            self.loop.bind(binding)
        self._run_lane(f"fabric/{name}")

    def _run_lane(self, lane: str) -> None:
        if not self._runs_lanes:
            return
        self._supervisor.keep(f"lane {lane}", lambda: self.loop.run_lane(lane))

    async def _gather_keys(self) -> None:
        """Learn the public key of each WireGuard device; try again until all are known."""
        while True:
            transport = self.made.encrypting()
            missing = False
            for found in self.prepared.intent.of(specs.WireGuardInterfaceSpec):
                file = found.spec.private_key_file
                if found.name in self.knowledge.public_keys or transport is None or file is None:
                    continue
                name = f"key/{found.name}"
                try:
                    async with asyncio.timeout(10):
                        key: PublicKey = await transport.public_key(file)
                except (ProviderError, TimeoutError) as error:
                    self.knowledge.waiting[name] = str(error) or "no answer"
                    missing = True
                    continue
                self.knowledge.waiting.pop(name, None)
                self.knowledge.public_keys[found.name] = key
                self.loop.wake()
            await self._clock.sleep(1.0 if missing else 5.0)


def _claims_of_file(intent: Intent) -> dict[str, Claim]:
    return {c.name: claim_from_spec(c.name, c.spec) for c in intent.of(specs.SAMEnrollmentClaimSpec)}
