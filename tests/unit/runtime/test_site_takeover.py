"""Two routers of one site in one process: one takeover each way, and nothing is written in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest

from routerd import config
from routerd.model.fabric import FabricRoute, FabricRouteKey, InstanceFacts, Nic, NicRef, RouteTableRef
from routerd.model.route import LearnedRoute, RouteSet
from routerd.plugins.check import Prepared
from routerd.plugins.host import PluginHost
from routerd.plugins.join_methods import JoinMethods
from routerd.plugins.providers import Providers
from routerd.process.supervisor import Supervisor
from routerd.report.reasons import notes
from routerd.runtime.router import HostTables, Router
from routerd.store import open_store
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.fakes import FakeFabric, FakeRouting, FakeWorld
from routerd.testing.tables import FakeTable

EXAMPLE = Path(__file__).parents[3] / "examples" / "fullmesh-leaf-aws.yaml"
SHARED, REMOTE = IPv4Network("10.81.10.20/32"), IPv4Network("10.83.10.20/32")
REFLECTOR = IPv4Address("10.255.10.157")
TABLE = RouteTableRef("rtb-1")
KEY = FabricRouteKey(table=TABLE, prefix=REMOTE)
HOLD = 10.0
QUIET = 3600.0


@attrs.define(eq=False)
class Leaf:
    """A router of the site; what it hears of its reflector the test says."""

    name: str
    priority: int
    router_id: IPv4Address
    world: FakeWorld
    clock: FakeClock
    state: Path
    others: str
    router: Router = attrs.field(init=False)
    supervisor: Supervisor = attrs.field(init=False)

    def make(self) -> None:
        text = EXAMPLE.read_text().replace("routerID: 10.255.16.11", f"routerID: {self.router_id}")
        placement = f"        placement: {{group: aws, priority: {self.priority}}}\n        bgp:"
        text = text.replace("        bgp: {asn", f"{placement} {{asn", 1)
        text = text.replace(
            "        mode: auto\n", f"        mode: auto\n        takeoverFrom: [{self.others}]\n"
        )
        configuration = config.load_text(text, file="leaf.yaml")
        log: Any = RecordingLogger()
        prepared = Prepared(
            configuration=configuration, host=PluginHost([]), options={}, profile_options={"aws": None}
        )
        fabric = FakeFabric(self.world)
        fabric.share(frozenset({self.others}))
        self.supervisor = Supervisor(clock=self.clock, log=log)
        self.router = Router(
            prepared,
            Providers(
                transports={},
                modes={},
                routings={"bgp": FakeRouting(self.world)},
                enrollments=JoinMethods({}, log=log),
                fabrics={"aws": fabric},
            ),
            tables=HostTables(
                routes=FakeTable(), addresses=FakeTable(), sysctls=FakeTable(), firewall=FakeTable()
            ),
            store=open_store(self.state / f"{self.name}.db", clock=self.clock),
            supervisor=self.supervisor,
            clock=self.clock,
            log=log,
        )

    def hears(self, *rivals: Leaf, up: bool = True, remote: bool = True) -> None:
        """Announce the far site's address, and the path that the reflector prefers."""
        routes = [
            LearnedRoute(
                prefix=SHARED,
                next_hop=REFLECTOR,
                neighbour=REFLECTOR,
                best=False,
                med=rival.priority,
                originator=rival.router_id,
            )
            for rival in rivals
        ]
        if remote:
            routes.append(LearnedRoute(prefix=REMOTE, next_hop=REFLECTOR, neighbour=REFLECTOR))
        self.world.announce(
            RouteSet(routes=tuple(routes), complete=True, heard=frozenset({REFLECTOR} if up else ()))
        )

    @property
    def writes(self) -> list[tuple[str, str | None]]:
        return [(each.verb, each.before and each.before.next_hop) for each in self.world.routes.writes]

    def said(self) -> str:
        (note,) = notes(self.router.derive())
        return note

    async def die(self) -> None:
        await self.supervisor.aclose()


class Cloud:
    """The site: two leaves, one table."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = FakeClock()
        self.a = self._leaf("a", 10, "10.255.16.11", tmp_path)
        self.b = self._leaf("b", 20, "10.255.16.12", tmp_path)
        self.a.world.routes.join(self.b.world.routes)

    def _leaf(self, name: str, priority: int, router_id: str, state: Path) -> Leaf:
        nic = Nic(ref=NicRef(f"eni-{name}"), address=IPv4Address("10.81.10.4"), primary=True)
        facts = InstanceFacts(
            provider="aws", instance=name, nics=(nic,), next_hop=f"eni-{name}", route_tables=(TABLE,)
        )
        return Leaf(
            name=name,
            priority=priority,
            router_id=IPv4Address(router_id),
            world=FakeWorld(facts),
            clock=self.clock,
            state=state,
            others="eni-b" if name == "a" else "eni-a",
        )

    @property
    def leads_to(self) -> str | None:
        table = self.a.world.routes
        found = table.content.get(KEY) or table.foreign.get(KEY)
        return found.next_hop if found is not None else None

    async def start(self, *leaves: Leaf) -> None:
        for leaf in leaves:
            leaf.make()
            await leaf.router.start()
        await self.clock.advance(1.5)

    async def until(self, what: Callable[[], object], within: float) -> float:
        """Move the clock until something holds; return how many seconds it took."""
        began = self.clock.monotonic()
        while not what():
            assert self.clock.monotonic() - began < within, "it did not come to hold"
            await self.clock.advance(0.25)
        return self.clock.monotonic() - began


@asynccontextmanager
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cloud]:
    async def inline(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    # Time moves only when everything has had its turn, and a thread has none.
    monkeypatch.setattr(asyncio, "to_thread", inline)
    made = Cloud(tmp_path)
    made.a.hears()
    made.b.hears(made.a)
    await made.start(made.a, made.b)
    try:
        yield made
    finally:
        for leaf in (made.a, made.b):
            await leaf.die()


async def test_one_takeover_each_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(tmp_path, monkeypatch) as made:
        a, b = made.a, made.b
        assert made.leads_to is None, "before the hold-down"
        assert "will be active after leading for 10 s" in a.said()
        await made.until(lambda: made.leads_to == "eni-a", within=HOLD + 1)
        assert "active in placement group aws with priority 10" in a.said()
        assert "standby in placement group aws with priority 20: router 10.255.16.11" in b.said()
        assert b.world.forwarding.content[NicRef("eni-b")].enabled, "the switch is set in any case"
        await made.clock.advance(QUIET)
        assert (a.writes, b.writes) == ([("create", None)], [])

        await a.die()
        b.hears()
        took = await made.until(lambda: made.leads_to == "eni-b", within=HOLD + 1)
        assert took >= HOLD
        assert "active" in b.said()
        await made.clock.advance(QUIET)
        assert b.writes == [("replace", "eni-a")]

        a.hears(b)
        await made.start(a)
        a.hears()
        b.hears(a)
        took = await made.until(lambda: made.leads_to == "eni-a", within=HOLD + 3)
        assert took >= HOLD - 2
        await made.clock.advance(QUIET)
        assert a.writes == [("create", None), ("replace", "eni-b")]
        assert b.writes == [("replace", "eni-a")]


async def test_a_leaf_without_a_reflector_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it leads, and nothing it has is taken away."""
    async with site(tmp_path, monkeypatch) as made:
        await made.until(lambda: made.leads_to == "eni-a", within=HOLD + 1)
        for leaf in (made.a, made.b):
            leaf.hears(up=False, remote=False)
        await made.clock.advance(QUIET)
        assert made.leads_to == "eni-a"
        assert "isolated" in made.a.said()
        assert (len(made.a.writes), len(made.b.writes)) == (1, 0)


async def test_only_who_has_a_route_removes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(tmp_path, monkeypatch) as made:
        await made.until(lambda: made.leads_to == "eni-a", within=HOLD + 1)
        made.b.hears(made.a, remote=False)
        await made.clock.advance(QUIET)
        assert made.leads_to == "eni-a"
        made.a.hears(remote=False)
        await made.until(lambda: made.leads_to is None, within=120)
        await made.clock.advance(QUIET)
        assert made.b.writes == []


async def test_a_standby_removes_its_own_route_that_nobody_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path, monkeypatch) as made:
        await made.until(lambda: made.leads_to == "eni-a", within=HOLD + 1)
        await made.a.die()
        made.b.hears()
        await made.until(lambda: made.leads_to == "eni-b", within=HOLD + 1)
        made.b.hears(made.a, remote=False)
        await made.until(lambda: made.leads_to is None, within=120)


async def test_a_reload_begins_the_hold_down_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(tmp_path, monkeypatch) as made:
        await made.until(lambda: made.leads_to == "eni-a", within=HOLD + 1)
        made.a.router.replace(made.a.router.prepared)
        made.a.world.routes.settle(KEY, FabricRoute(next_hop="eni-b"))
        made.a.router.loop.retry_now()
        await made.clock.advance(HOLD - 1)
        assert made.leads_to == "eni-b"
        await made.until(lambda: made.leads_to == "eni-a", within=2)


async def test_in_two_parts_a_route_changes_hands_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither hears of the other, and both are active by what they hear."""
    async with site(tmp_path, monkeypatch) as made:
        await made.until(lambda: made.leads_to == "eni-a", within=HOLD + 1)
        made.b.hears()
        await made.until(lambda: made.leads_to == "eni-b", within=HOLD + 1)
        for _ in range(int(QUIET // 60)):
            await made.clock.advance(60)
            for leaf in (made.a, made.b):
                leaf.router.loop.retry_now()
        assert 2 <= len(made.a.writes) + len(made.b.writes) <= 6
