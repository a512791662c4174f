"""A router's cloud half, with a fake cloud and a real state file, for tests of approval and undo."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace

import attrs

from routerd.clouds.bindings import fabric_bindings, gates
from routerd.clouds.gate import Gate, Mode
from routerd.clouds.takeover import Election, RoutePermission
from routerd.model.change import DesiredTable
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, NicRef
from routerd.model.report.actions import ActionApproval, OpenAction
from routerd.model.specs import CloudProviderProfileSpec
from routerd.reconcile.desired import Desired
from routerd.reconcile.knowledge import Knowledge
from routerd.reconcile.loop import Loop
from routerd.runtime.cloud_actions import Actions
from routerd.store import JournalEntry, Store, open_store
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.fakes import FACTS, FakeFabric, FakeWorld

(NIC,) = (nic.ref for nic in FACTS.nics)
OURS = FabricRoute(next_hop=FACTS.next_hop)
OTHERS = FabricRoute(next_hop="nic-of-leaf-b")
ON, OFF = Forwarding(enabled=True), Forwarding(enabled=False)


def key(last: int) -> FabricRouteKey:
    return FabricRouteKey(table=FACTS.route_tables[0], prefix=IPv4Network(f"10.99.0.{last}/32"))


class CloudWorld:
    """One profile `aws` over a fake cloud. `remote` is what has to be reachable; also a fake `Router`."""

    def __init__(self, path: Path, mode: Mode = "auto", *, hold_down: float = 0.0) -> None:
        self.clock = FakeClock()
        self.log = RecordingLogger()
        self.cloud = FakeWorld()
        self.cloud.routes.others = frozenset({OTHERS.next_hop})
        self.remote: set[int] = set()
        self.complete = True
        self.knowledge = Knowledge()
        self.prepared = self.made = SimpleNamespace(faults=())
        self.knowledge.instances["aws"] = FACTS
        self._path = path / "routerd.db"
        self._profile = CloudProviderProfileSpec(
            provider="fake",
            mode=mode,
            removal_hold_down=timedelta(seconds=hold_down),
            resync_interval=timedelta(minutes=5),
        )
        self.store: Store
        self.start()

    def start(self, mode: Mode | None = None) -> None:
        """Be a process that was just started on the state file."""
        self._profile = attrs.evolve(self._profile, mode=mode or self._profile.mode)
        self.store = open_store(self._path, clock=self.clock)
        self.loop = Loop(
            fabric_bindings(
                "aws",
                FakeFabric(self.cloud),
                self.store.journal,
                self._profile,
                clock=self.clock,
                log=self.log,
                # A leaf that shares nothing.
                permission=RoutePermission(Election(), FACTS.next_hop, hold_down=0.0),
            ),
            derive=self._derive,
            clock=self.clock,
            log=self.log,
            jitter=lambda: 0.5,
        )
        self.actions = Actions(self, self.store.journal, clock=self.clock, log=self.log)  # type: ignore[arg-type]

    def restart(self, mode: Mode | None = None) -> None:
        """End, and be started again."""
        self.store.close()
        self.start(mode)

    def gates(self) -> dict[str, Gate]:
        return gates(self.loop.bindings())

    def _derive(self) -> Desired:
        routes = DesiredTable(values={key(last): OURS for last in self.remote}, complete=self.complete)
        switches = DesiredTable(values={NIC: ON})
        return Desired(tables={"routes/aws": routes, "forwarding/aws": switches})

    async def passes(self, after: float = 0.0) -> None:
        """Let time pass and the lane run until it comes to rest."""
        if after:
            await self.clock.advance(after)
        for _ in range(10):
            if not await self.loop.run_once("fabric/aws"):
                return
        raise AssertionError("the loop does not come to rest")

    async def looks(self) -> None:
        """Let the lane read everything, as after minutes."""
        self.loop.retry_now()
        await self.passes()

    @property
    def routes(self) -> dict[FabricRouteKey, FabricRoute]:
        """Return the routes of the cloud, whosever they are."""
        return {**self.cloud.routes.foreign, **self.cloud.routes.content}

    def place(self, last: int, route: FabricRoute | None) -> None:
        """Change a route as somebody else would."""
        self.cloud.routes.content.pop(key(last), None)
        self.cloud.routes.foreign.pop(key(last), None)
        if route is not None:
            self.cloud.routes.content[key(last)] = route

    @property
    def switches(self) -> Mapping[NicRef, Forwarding]:
        return self.cloud.forwarding.content

    def entries(self) -> tuple[JournalEntry, ...]:
        return self.store.journal.entries()

    def story(self, table: str = "routes") -> list[tuple[str, str]]:
        """Return verb and outcome of each entry of a table."""
        return [(each.verb, each.outcome) for each in self.store.journal.entries("aws", table)]

    def number(self, verb: str, table: str = "routes") -> int:
        """Return the number of the latest entry with that verb."""
        return [each.number for each in self.store.journal.entries("aws", table) if each.verb == verb][-1]

    async def open(self, table: str = "routes") -> list[OpenAction]:
        """Return what is listed as not made."""
        found = await self.actions.listing(profile=None, limit=20)
        return [each for each in found.open if each.table == table]

    async def approve(self, *ids: str, every: bool = False, profile: str | None = None) -> ActionApproval:
        return await self.actions.approve(ids, every=every, profile=profile)
