"""The plugin keeps the contracts of a plugin and of a subsystem, and its own word."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from routerd_fabric_names import plugin
from routerd_fabric_names.hosts import MARK
from routerd_fabric_names.names import HostsFileSpec, Line, derive, explain
from routerd_fabric_names.subsystem import Names

from routerd.model.change import Change
from routerd.model.claim import Claim, prefix
from routerd.model.intent import Intent
from routerd.model.names import NodeName
from routerd.model.resource import Resource, ResourceId, SourceLocation
from routerd.model.subsystem import FabricFacts, Flow
from routerd.spi import NoOptions, Resources, SubsystemType
from routerd.testing.context import make_context
from routerd.testing.contracts import Foreign, PluginContract, Samples, SubsystemContract, TableRules, fill

LEAF = Claim(
    name="a", policy_ref="SAMEnrollmentPolicy/p", leaf_id="Leaf.A", tunnel_address="10.255.0.2",
    owned_addresses=("10.81.10.20/32", "10.81.0.0/24", "10.81.10.3/32"),
)  # fmt: skip


def resource(spec: HostsFileSpec, name: str = "f") -> Resource[object]:
    lines = {"spec.file": 7, "spec.domain": 8, "spec.names": 9}
    return Resource(
        id=ResourceId("names.example.net/v1", "HostsFile", name),
        spec=spec,
        source=SourceLocation("router.yaml", 3, lines),
    )


def fabric(resources: Resources, *leaves: Claim) -> FabricFacts:
    return FabricFacts(intent=Intent(node=NodeName("rr"), resources=tuple(resources)), leaves=leaves)


class TestPlugin(PluginContract):
    name: ClassVar[str] = "fabric_names"


class TestSubsystem(SubsystemContract):
    tables: ClassVar[tuple[TableRules, ...]] = (TableRules(attribute="lines"),)

    @pytest.fixture
    def provider(self) -> SubsystemType:
        return plugin.routerd_subsystems()[0]

    @pytest.fixture
    def resources(self, tmp_path: Path) -> Resources:
        spec = HostsFileSpec(
            file=tmp_path / "hosts", domain="x.test", names={"printer": IPv4Address("10.83.10.7")}
        )
        return [resource(spec)]

    @pytest.fixture
    def facts(self, resources: Resources) -> FabricFacts:
        return fabric(resources, LEAF)

    @pytest.fixture
    def wrong(self, tmp_path: Path) -> Resources:
        return [resource(HostsFileSpec(file=tmp_path / "hosts", domain="a b"))]

    @pytest.fixture
    def samples(self, tmp_path: Path) -> Mapping[str, Samples[Any, Any]]:
        ours, foreign = tmp_path / "hosts", tmp_path / "theirs"
        foreign.write_text("127.0.0.1 localhost\n")

        async def place() -> None:
            return

        async def read() -> object:
            return foreign.read_text()

        key = Line(foreign, "a.x.test")
        return {
            "lines": Samples(
                values={
                    Line(ours, "a.x.test"): ("10.1.0.1", "10.1.0.2"),
                    Line(ours, "b.x.test"): ("10.1.0.3",),
                },
                replacement={Line(ours, "a.x.test"): ("10.1.0.9",)},
                refused={Line(tmp_path / "theirs" / "hosts", "a.x.test"): ("10.1.0.1",)},
                foreign=Foreign(key=key, value=("10.1.0.1",), place=place, read=read),
            )
        }


def test_a_leaf_has_the_names_of_its_hosts_and_the_file_comes_first(tmp_path: Path) -> None:
    spec = HostsFileSpec(file=tmp_path / "h", domain="x.test", names={"leaf-a": IPv4Address("10.83.10.7")})
    bare = [resource(attrs.evolve(spec, names={}))]
    lines = derive(bare, fabric(bare, LEAF)).tables["lines"].values
    assert lines == {Line(spec.file, "leaf-a.x.test"): ("10.81.10.20", "10.81.10.3")}
    given = [resource(spec)]
    lines = derive(given, fabric(given, LEAF)).tables["lines"].values
    assert lines == {Line(spec.file, "leaf-a.x.test"): ("10.83.10.7",)}
    flow = Flow(source=prefix("10.1.0.1"), destination=prefix("10.83.10.7"))
    assert [step.text for step in explain(flow, given, fabric(given))] == ["10.83.10.7 is leaf-a.x.test"]


def test_two_resources_with_one_file_are_refused_with_the_line(tmp_path: Path) -> None:
    spec = HostsFileSpec(file=tmp_path / "h", domain="x.test", names={"Big": IPv4Address("10.83.10.7")})
    (described,) = plugin.routerd_subsystems()
    found = list(described.check([resource(spec, "f"), resource(attrs.evolve(spec, names={}), "g")], None))
    assert [(each.resource, each.line) for each in found] == [("HostsFile/f", 9), ("HostsFile/g", 7)]
    with pytest.raises(ValueError, match="not an absolute path"):
        HostsFileSpec(file=Path("hosts"), domain="x.test")


async def test_the_file_is_one_that_a_name_server_reads_and_goes_with_its_last_line(tmp_path: Path) -> None:
    made = Names(make_context(tmp_path), NoOptions())
    spec = HostsFileSpec(file=tmp_path / "etc" / "hosts", domain="x.test")
    wanted = derive([resource(spec)], fabric([resource(spec)], LEAF)).tables["lines"].values
    assert await fill(made.lines, wanted) == wanted
    assert spec.file.read_text() == f"{MARK}\n10.81.10.20 leaf-a.x.test\n10.81.10.3 leaf-a.x.test\n"
    assert [state.text for state in await made.states()] == ["1 names"]
    (route,) = made.control_routes()
    assert await route.handler({"name": "leaf-a.x.test"}) == {"leaf-a.x.test": ["10.81.10.20", "10.81.10.3"]}
    assert await made.lines.apply([Change(key=key, before=wanted[key], after=None) for key in wanted]) == {}
    assert not spec.file.exists()
    assert await made.states() == []
