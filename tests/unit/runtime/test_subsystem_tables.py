"""The tables of a subsystem in the loop: those of the host in its lane, those outside of it journaled."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from tests.unit.plugins.test_subsystems import KIND

from routerd.clouds.bindings import gates
from routerd.clouds.gate import Gate
from routerd.errors import ActionRefused
from routerd.model.change import DesiredTable
from routerd.model.subsystem import Derivation
from routerd.plugins.subsystems import MadeSubsystem
from routerd.reconcile.desired import Desired
from routerd.reconcile.knowledge import Knowledge
from routerd.reconcile.loop import Loop
from routerd.runtime.cloud_actions import Actions
from routerd.runtime.single_runs import remove_ours
from routerd.runtime.subsystem_tables import SubsystemBinder
from routerd.spi import SubsystemTable, SubsystemType
from routerd.store import Store, open_store
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.tables import FakeTable


@attrs.frozen(order=True)
class Name:
    """A key of more than text."""

    zone: str
    host: str

    def __str__(self) -> str:
        return f"{self.host}.{self.zone}"


@attrs.frozen
class Record:
    """A value of more than text."""

    address: IPv4Address


A, B = Name("x.test", "a"), Name("x.test", "b")
OURS, THEIRS = Record(IPv4Address("10.1.0.1")), Record(IPv4Address("10.9.9.9"))


class DnsWorld:
    """A router with one subsystem `dns`: `rules` on the host, `records` in a zone of somebody's API."""

    def __init__(self, path: Path) -> None:
        self.clock, self.log = FakeClock(), RecordingLogger()
        self.rules: FakeTable[str, int] = FakeTable()
        self.records: FakeTable[Name, Record] = FakeTable({A: THEIRS})
        self.wanted: dict[Name, Record] = {}
        self.lanes: list[str] = []
        self.knowledge = Knowledge()
        self.prepared = self.made = SimpleNamespace(faults=())
        self._path = path / "routerd.db"
        self.store: Store
        self.loop: Loop

    async def start(self) -> None:
        """Be a process that was just started on the state file."""
        self.store = open_store(self._path, clock=self.clock)
        self.loop = Loop([], derive=self._derive, clock=self.clock, log=self.log, jitter=lambda: 0.5)
        bind = SubsystemBinder(
            loop=self.loop,
            journal=self.store.journal,
            clock=self.clock,
            log=self.log,
            run_lane=self.lanes.append,
        )
        await bind(self.subsystem())
        self.actions = Actions(cast("Any", self), self.store.journal, clock=self.clock, log=self.log)

    def subsystem(self, *more: SubsystemTable) -> MadeSubsystem:
        described = SubsystemType(
            kind="dns",
            create=lambda *_: None,  # type: ignore[arg-type,return-value]
            kinds=(KIND,),
            tables=(
                SubsystemTable(name="rules", after="firewall"),
                SubsystemTable(
                    name="records", after="routes", outside=True, key=Name, value=Record, deadline=9
                ),
                *more,
            ),
            derive=lambda *_: Derivation(),
        )
        provider = SimpleNamespace(rules=self.rules, records=self.records)
        return MadeSubsystem(plugin="p", described=described, provider=cast("Any", provider), log=self.log)

    def gates(self) -> Mapping[str, Gate]:
        return gates(self.loop.bindings())

    def _derive(self) -> Desired:
        return Desired(tables={"dns/records": DesiredTable(values=self.wanted)})

    async def passes(self) -> None:
        for _ in range(10):
            if not await self.loop.run_once("subsystem/dns"):
                return
        raise AssertionError("the loop does not come to rest")


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    made = DnsWorld(tmp_path)
    await made.start()
    yield made
    made.store.close()


async def test_a_table_of_the_host_is_in_its_lane_and_one_outside_has_its_own(world: DnsWorld) -> None:
    found = {binding.name: binding for binding in world.loop.bindings()}
    assert {name: (each.lane, each.role, each.plugin, each.deadline) for name, each in found.items()} == {
        "dns/rules": ("host", "firewall+", "p", 30.0),
        "dns/records": ("subsystem/dns", "routes+", "p", 9),
    }
    assert world.lanes == ["subsystem/dns"]


async def test_only_what_is_ours_by_the_journal_is_deleted(world: DnsWorld) -> None:
    world.wanted = {B: OURS}
    await world.passes()
    assert world.records.content == {A: THEIRS, B: OURS}
    world.wanted = {}
    await world.passes()
    assert world.records.content == {A: THEIRS}
    assert [(each.scope, each.table, each.verb, each.outcome) for each in world.store.journal.entries()] == [
        ("dns", "dns/records", "create", "done"),
        ("dns", "dns/records", "delete", "done"),
    ]


async def test_down_restores_what_was_there_also_after_a_restart(world: DnsWorld) -> None:
    world.wanted = {A: OURS, B: OURS}
    await world.passes()
    assert world.records.content == {A: OURS, B: OURS}
    world.store.close()
    await world.start()
    done = await remove_ours(cast("Any", world), world.store)
    assert done.failed == ()
    assert world.records.content == {A: THEIRS}


async def test_an_undo_restores_one_key_and_holds_it(world: DnsWorld) -> None:
    world.wanted = {A: OURS}
    await world.passes()
    (entry,) = world.store.journal.entries()
    undone = await world.actions.undo(entry.number)
    assert undone.held
    await world.passes()
    assert world.records.content == {A: THEIRS}
    listed = await world.actions.listing(profile=None, limit=9)
    assert "a.x.test" in str(listed)
    with pytest.raises(ActionRefused):
        await world.actions.undo(99)


async def test_a_provider_without_a_table_of_its_description_binds_none(world: DnsWorld) -> None:
    loop = Loop([], derive=world._derive, clock=world.clock, log=world.log)
    bind = SubsystemBinder(
        loop=loop, journal=world.store.journal, clock=world.clock, log=world.log, run_lane=world.lanes.append
    )
    with pytest.raises(AttributeError, match="missing"):
        await bind(world.subsystem(SubsystemTable(name="missing", after="routes")))
    assert loop.bindings() == ()
