"""A reload with other options of a plugin replaces its subsystem: the old one closed, the new one bound."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.waiting import until_async

from routerd.model.subsystem import Derivation
from routerd.plugins.providers import Remade
from routerd.plugins.subsystems import MadeSubsystem
from routerd.process.supervisor import Supervisor
from routerd.reconcile.desired import Desired
from routerd.reconcile.knowledge import Knowledge
from routerd.reconcile.loop import Loop
from routerd.runtime.remaking import Remaker
from routerd.runtime.starter import Starter
from routerd.runtime.subsystem_tables import SubsystemBinder
from routerd.spi import SubsystemTable, SubsystemType
from routerd.store import open_store
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.tables import FakeTable


class Dns:
    """A provider that keeps a record of its life."""

    def __init__(self, zone: str, life: list[str]) -> None:
        self.zone, self.life = zone, life
        self.records: FakeTable[str, str] = FakeTable()

    async def start(self) -> None:
        self.life.append(f"start {self.zone}")

    async def aclose(self) -> None:
        self.life.append(f"close {self.zone}")


def made(zone: str, life: list[str], log: Any) -> MadeSubsystem:
    described = SubsystemType(
        kind="dns",
        create=lambda *_: None,  # type: ignore[arg-type,return-value]
        tables=(SubsystemTable(name="records", after="routes"),),
        derive=lambda *_: Derivation(),
    )
    return MadeSubsystem(plugin="p", described=described, provider=cast("Any", Dns(zone, life)), log=log)


@pytest.mark.parametrize("used", ["", "azure", "aws"])
async def test_other_options_replace_a_subsystem_unless_its_plugin_must_restart(
    tmp_path: Path, used: str
) -> None:
    serves_a_cloud = used == "aws"
    clock, log, life = FakeClock(), RecordingLogger(), list[str]()
    knowledge, supervisor = Knowledge(), Supervisor(clock=clock, log=cast("Any", log))
    loop = Loop([], derive=Desired, clock=clock, log=log)
    store = open_store(tmp_path / "routerd.db", clock=clock)
    starter = Starter(
        knowledge=knowledge, supervisor=supervisor, clock=clock, log=cast("Any", log), wake=loop.wake
    )
    present: Any = SimpleNamespace(subsystems={"dns": made("old", life, log)})
    remaker = Remaker(
        made=present,
        loop=loop,
        starter=starter,
        supervisor=supervisor,
        log=cast("Any", log),
        bind=cast("Any", None),
        bind_subsystem=SubsystemBinder(
            loop=loop, journal=store.journal, clock=clock, log=log, run_lane=lambda _: None
        ),
        options={"p": "old"},
    )
    remaker.start_subsystem("dns", present.subsystems["dns"])
    await until_async(lambda: not knowledge.waiting, "has started")
    plugin = SimpleNamespace(
        info=SimpleNamespace(name="p"), routings=(), fabrics=(SimpleNamespace(kind="aws"),)
    )
    profiles = [SimpleNamespace(spec=SimpleNamespace(provider=used))] if used else []
    factory: Any = SimpleNamespace(
        prepared=SimpleNamespace(
            options={"p": "new"},
            host=SimpleNamespace(plugins=(plugin,)),
            intent=SimpleNamespace(of=lambda _: profiles),
        ),
        make_again=lambda _: Remade(modes={}, methods={}, subsystems={"dns": made("new", life, log)}),
    )
    await remaker.remake(factory)
    await until_async(lambda: not knowledge.waiting, "has started")
    (binding,) = loop.bindings()
    if serves_a_cloud:
        assert life == ["start old"]
        assert remaker.waiting({"p": "new"})
    else:
        assert life == ["start old", "close old", "start new"]
        assert binding.table is present.subsystems["dns"].provider.records
        assert present.subsystems["dns"].provider.zone == "new"
        assert not remaker.waiting({"p": "new"})
    await supervisor.aclose()
    store.close()
