"""The router: it keeps the facts current, binds the tables to the loop, and derives the desired state.

`starter` brings the providers up; `clouds` has the policies of cloud tables.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import attrs

from routerd.clouds.bindings import fabric_bindings, gates
from routerd.clouds.gate import Gate
from routerd.clouds.site_watch import SiteWatch
from routerd.clouds.takeover import RoutePermission
from routerd.kernel.mtu import device_mtus
from routerd.model import specs
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.fabric import InstanceFacts
from routerd.model.intent import Intent
from routerd.model.names import LinkName
from routerd.model.route import RouteSet
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.rr_set import static_reflectors
from routerd.plugins.check import Prepared
from routerd.plugins.providers import Providers
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.desired import Desired
from routerd.reconcile.knowledge import Knowledge
from routerd.reconcile.loop import Binding, Loop
from routerd.reconcile.merge import merged
from routerd.runtime.device_keys import DeviceKeys
from routerd.runtime.learning import learned
from routerd.runtime.remaking import Remaker
from routerd.runtime.starter import Starter
from routerd.runtime.subsystem_tables import SubsystemBinder, judge
from routerd.spi import Clock, Fabric, Routing, Table, Transport
from routerd.store import Store
from routerd.store.store import RETRY_SECONDS

RECOVERY_SECONDS = 180.0
"""Seconds without deletions after a damaged state file; in that time each leaf enrolls again."""


@attrs.frozen(kw_only=True)
class HostTables:
    """The core's own tables."""

    routes: Table[Any, Any]  # Any: bound to the loop, which only compares
    addresses: Table[Any, Any]  # Any: as above
    sysctls: Table[Any, Any]  # Any: as above
    firewall: Table[Any, Any]  # Any: as above


class Router:
    """Keeps the facts current and the loop supplied with them."""

    def __init__(
        self,
        prepared: Prepared,
        made: Providers,
        *,
        tables: HostTables,
        store: Store,
        supervisor: Supervisor,
        clock: Clock,
        log: Log,
        on_pass: Callable[[], None] = lambda: None,
    ) -> None:
        self.prepared = prepared
        self.made = made
        self.knowledge = Knowledge(claims=store.admitted())
        self._store = store
        self._supervisor = supervisor
        self._clock = clock
        self.log = log
        self._runs_lanes = True
        self._holds_down = True
        self._recovering = not store.whole
        self.loop = Loop([], derive=self.derive, clock=clock, log=log, on_pass=on_pass)
        self._starter = Starter(
            knowledge=self.knowledge,
            supervisor=supervisor,
            clock=clock,
            log=log,
            wake=self.loop.wake,
            plugins=made.plugins,
        )
        self.remaker = Remaker(
            made=made,
            loop=self.loop,
            starter=self._starter,
            supervisor=supervisor,
            log=log,
            bind=self._bind_transport,
            bind_subsystem=SubsystemBinder(
                loop=self.loop, journal=store.journal, clock=clock, log=log, run_lane=self._run_lane
            ),
            options=dict(prepared.options),
        )
        self._keys = DeviceKeys(
            transports=made.encrypting,
            knowledge=self.knowledge,
            supervisor=supervisor,
            clock=clock,
            log=log,
            plugins=made.plugins,
            wake=self.loop.wake,
        )
        self.site = SiteWatch(clock=clock, log=log, reread=self.loop.reread)
        for role in ("sysctls", "addresses", "firewall", "routes"):
            self.loop.bind(Binding(name=role, role=role, table=getattr(tables, role)))

    # --- life --------------------------------------------------------------------------------------

    async def start(self, *, lanes: bool = True, hold_down: bool = True) -> None:
        """Start everything; a provider that fails to start is retried in the background.

        `lanes=False` binds the tables but runs no lane; dry runs use it. `hold_down=False` deletes
        without a wait; a run that ends by itself uses it.
        """
        self._runs_lanes = lanes
        self._holds_down = hold_down
        self.refresh()
        self.site.hear(self.inputs())
        starter, made = self._starter, self.made
        for name, transport in made.transports.items():
            self.remaker.start_transport(name, transport)
        for name, routing in made.routings.items():
            starter.start(f"routing/{name}", routing, partial(self._bind_routing, name, routing))
        for kind, subsystem in made.subsystems.items():
            self.remaker.start_subsystem(kind, subsystem)
        for name, fabric in made.fabrics.items():
            starter.start(f"fabric/{name}", fabric, partial(self._bind_fabric, name, fabric))
        if lanes:
            # A dry run and `routerd down` ask no join method.
            for kind, method in made.enrollments.lifecycles().items():
                starter.start(f"enrollment/{kind}", method, _nothing)
        self._keys.start(lambda: self.prepared.intent)
        self._supervisor.keep("site", lambda: self.site.run(lambda: self.prepared.intent))
        if self._recovering:
            until = (
                f"for {RECOVERY_SECONDS:g} s"
                if self._store.salvaged is not None
                else f"until {RECOVERY_SECONDS:g} s after the file takes writes"
            )
            self.knowledge.waiting["state"] = (
                f"the state file was {'damaged' if self._store.salvaged is not None else 'not read whole'}: "
                f"routerd removes nothing {until}, so that each leaf can enroll again"
            )
            self._supervisor.spawn("recovery", self._recover())
        self._run_lane("host")

    async def aclose(self) -> None:
        """Close the providers; the data plane stays as it is."""
        await self._starter.aclose()

    def replace(self, prepared: Prepared) -> None:
        """Use `prepared` from the next pass on."""
        self.prepared = prepared
        self.site.restart()
        self.refresh()
        self.site.hear(self.inputs())
        self.loop.wake()

    def wake(self, lane: str | None = None) -> None:
        """Start the next pass of one lane, or of all, soon; an unknown lane is ignored."""
        if lane is None or lane in self.loop.lanes:
            self.loop.wake(lane)

    def links_changed(self) -> None:
        """Retry failed routes, because their next hops may be reachable now.

        Without this a gateway that was away for an hour would lack its routes for minutes.
        """
        for role in ("routes", "addresses", "tunnels", "tunnels.encrypting", "peers"):
            self.loop.retry_role(role)

    def gates(self) -> dict[str, Gate]:
        """Return the gate of each cloud table, by the table's name."""
        return gates(self.loop.bindings())

    async def plan(self, prepared: Prepared | None = None) -> Loop:
        """Return a loop that has compared everything once and changed nothing.

        It compares with the desired state of `prepared`, if given.
        """
        intended = prepared or self.prepared
        judge(intended, self.inputs(intended))
        dry = Loop(
            self.loop.bindings(),
            derive=lambda: self.derive(intended),
            clock=self._clock,
            log=self.log,
        )
        for lane in dry.lanes:
            await dry.run_once(lane, dry_run=True)
        return dry

    def refresh(self) -> None:
        """Take over topologies as they are now, and wake the loop."""
        self.knowledge.topologies = self._store.topologies()
        if "host" in self.loop.lanes:
            self.loop.wake()

    def admit(self, claims: tuple[AdmittedClaim, ...]) -> None:
        """Take over all admitted claims as they are now, and wake the loop."""
        self.knowledge.claims = claims
        if "host" in self.loop.lanes:
            self.loop.wake()

    def own_claim(self, claim: Claim) -> None:
        """Use a claim of ours as it was last signed."""
        self.knowledge.own_claims = {**self.knowledge.own_claims, claim.name: claim}
        self.site.hear(self.inputs())
        self.loop.wake()

    # --- derivation --------------------------------------------------------------------------------

    def derive(self, prepared: Prepared | None = None) -> Desired:
        """Return the desired state of `prepared`, or of the present configuration."""
        inputs = self.inputs(prepared)
        desired = self.site.noted(derive(inputs), inputs.intent)
        return desired.deleting_nothing() if self._recovering else desired

    async def _recover(self) -> None:
        while await asyncio.to_thread(lambda: self._store.trouble) is not None:
            await self._clock.sleep(RETRY_SECONDS)
        await self._clock.sleep(RECOVERY_SECONDS)
        self._recovering = False
        self.knowledge.waiting.pop("state", None)
        self.loop.wake()

    def inputs(self, prepared: Prepared | None = None) -> Inputs:
        """Return the inputs of derivation, for `prepared` or the present configuration."""
        known = self.knowledge
        intent = (prepared or self.prepared).intent
        in_file = {c.name: claim_from_spec(c.name, c.spec) for c in intent.of(specs.SAMEnrollmentClaimSpec)}
        return Inputs(
            intent=intent,
            now=self._clock.now(),
            claims=known.claims,
            own_claims={**in_file, **known.own_claims},
            topologies=known.topologies,
            static_reflectors=static_reflectors(intent),
            learned=merged(known.learned, _preferences(self.made, intent)),
            routings=tuple(sorted(self.made.routings.keys() - {self.made.bgp})),
            instances=dict(known.instances),
            public_keys=dict(known.public_keys),
            modes=self.made.modes,
            tunnel_options=(prepared or self.prepared).tunnel_options,
            subsystems=self.made.subsystems,
            link_mtus=device_mtus(LinkName(each.spec.ifname) for each in intent.of(specs.InterfaceSpec)),
        )

    # --- tables ---------------------------------------------------------------------------------------

    def _bind(self, bindings: Iterable[Binding], owner: str) -> None:
        """Bind the tables of a provider; its properties have been asked before, so all are bound or none."""
        plugin = self.made.plugins.get(owner, "")
        for binding in list(bindings):
            self.loop.bind(attrs.evolve(binding, plugin=plugin))

    async def _bind_transport(self, mode: str, transport: Transport) -> None:
        encrypting = self.made.encrypting().get(mode)
        role = "tunnels" if encrypting is None else "tunnels.encrypting"
        bindings = [Binding(name=f"tunnels/{mode}", role=role, table=transport.tunnels)]
        if encrypting is not None:
            bindings.append(Binding(name=f"peers/{mode}", role="peers", table=encrypting.peers))
        self._bind(bindings, f"transport/{mode}")

    async def _bind_routing(self, kind: str, routing: Routing) -> None:
        speaks_bgp = kind == self.made.bgp
        # Whatever the plugin calls itself: what it speaks is BGP.
        name = "bgp" if speaks_bgp else kind
        own = ("speakers", "import_policies", "sessions") if speaks_bgp else ()
        bindings = [
            Binding(name=f"{name}/{role}", role=role, table=getattr(routing, role))
            for role in (*own, "advertisements")
        ]
        self._bind(bindings, f"routing/{kind}")
        self._supervisor.keep(f"{name}/learned", lambda: self._follow(kind, name, routing))

    async def _follow(self, kind: str, name: str, routing: Routing) -> None:
        plugin = self.made.plugins.get(f"routing/{kind}", "")
        async for routes in learned(routing, kind, log=self.log, plugin=plugin):
            known = routes if name == "bgp" else _of_source(routes, name)
            if known != self.knowledge.learned.get(name):
                self.knowledge.learned[name] = known
                self.site.hear(self.inputs())
                self.loop.wake()

    async def _bind_fabric(self, name: str, fabric: Fabric) -> None:
        facts: object = await fabric.instance()
        if not isinstance(facts, InstanceFacts):
            raise TypeError(f"instance returned a {type(facts).__name__}, not InstanceFacts")
        self.knowledge.instances[name] = facts
        profile = self.prepared.intent.get(name, specs.CloudProviderProfileSpec)
        spec = profile.spec if profile is not None else specs.CloudProviderProfileSpec(provider=name)
        own = self.knowledge.instances[name].next_hop
        hold_down = spec.takeover_hold_down.total_seconds()
        bindings = fabric_bindings(
            name,
            fabric,
            self._store.journal,
            spec,
            clock=self._clock,
            log=self.log,
            permission=RoutePermission(self.site.election, own, hold_down, stays=self._runs_lanes),
            holds_down=self._holds_down,
        )
        self._bind(bindings, f"fabric/{name}")
        self._run_lane(f"fabric/{name}")

    def _run_lane(self, lane: str) -> None:
        if not self._runs_lanes:
            return
        self._supervisor.keep(f"lane {lane}", lambda: self.loop.run_lane(lane))


def _preferences(made: Providers, intent: Intent) -> dict[str, int]:
    """Return the administrative distance of each protocol that is to speak, by its name."""
    found = {}
    for kind, routing in made.routings.items():
        if kind != made.bgp:
            found[kind] = routing.preference
        elif intent.first(specs.BGPRouterSpec) is not None:
            found["bgp"] = routing.preference
    return found


def _of_source(routes: RouteSet, source: str) -> RouteSet:
    return attrs.evolve(
        routes,
        routes=tuple(attrs.evolve(each, source=source) for each in routes.routes),
        rejected=tuple(attrs.evolve(each, source=source) for each in routes.rejected),
    )


async def _nothing() -> None:
    """Bind no table: a join method has none."""
