"""The plugin keeps the contracts of a plugin and of a fabric, and its own word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, ClassVar

import pytest
from routerd_fabric_static import plugin
from routerd_fabric_static.config import StaticOptions

from routerd.errors import TransientError
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, NicRef, RouteTableRef
from routerd.spi import Fabric, PluginContext, Provider
from routerd.testing.contracts import FabricContract, Foreign, PluginContract, Samples, running

WORLD = {
    "nics": {"nic-1": {"address": "10.1.0.4", "forwarding": False}},
    "tables": {"main": {"10.77.60.19/32": "nic-of-others"}},
}


@pytest.fixture
def route_file(tmp_path: Path) -> Path:
    path = tmp_path / "routes.json"
    path.write_text(json.dumps(WORLD))
    return path


class TestPlugin(PluginContract):
    name: ClassVar[str] = "fabric_static"


class TestFabric(FabricContract):
    @pytest.fixture
    def provider(self) -> Provider[Fabric]:
        return plugin.routerd_fabrics()[0]

    @pytest.fixture
    def options(self, route_file: Path) -> StaticOptions:
        return StaticOptions(file=str(route_file), next_hop="nic-1")

    @pytest.fixture
    def samples(self, route_file: Path) -> Mapping[str, Samples[Any, Any]]:
        ours = FabricRoute(next_hop="nic-1")

        def key(prefix: str, table: str = "main") -> FabricRouteKey:
            return FabricRouteKey(table=RouteTableRef(table), prefix=IPv4Network(prefix))

        async def place() -> None:
            assert "nic-of-others" in route_file.read_text()  # WORLD has it from the start

        async def read() -> object:
            return json.loads(route_file.read_text())["tables"]["main"].get("10.77.60.19/32")

        return {
            "forwarding": Samples(
                values={NicRef("nic-1"): Forwarding(enabled=True)},
                replacement={NicRef("nic-1"): Forwarding(enabled=False)},
                refused={NicRef("nic-9"): Forwarding(enabled=True)},
            ),
            "routes": Samples(
                values={key("10.77.60.11/32"): ours, key("10.77.60.12/32"): ours},
                refused={key("10.77.60.13/32", table="no-such-table"): ours},
                foreign=Foreign(key=key("10.77.60.19/32"), value=ours, place=place, read=read),
            ),
        }


async def test_a_missing_file_is_named(plugin_context: PluginContext, tmp_path: Path) -> None:
    options = StaticOptions(file=str(tmp_path / "none.json"), next_hop="nic-1")
    with pytest.raises(TransientError, match=r"none\.json.*create it"):
        async with running(plugin.routerd_fabrics()[0], plugin_context, options):
            pass
