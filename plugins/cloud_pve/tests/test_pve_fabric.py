"""The plugin cloud_pve on the unmodified SDK, over HTTPS, against the emulated host."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from plugins.cloud_pve.tests.pve_world import (
    NIC,
    OFF,
    ON,
    OTHER,
    REMOTE,
    ROUTE,
    Home,
    SteppingClock,
    key,
    options,
    started,
)

from routerd.errors import NotOwnedError, PermanentError
from routerd.model.change import Change
from routerd.model.fabric import FabricRouteKey, NicRef, RouteTableRef
from routerd.spi import Fabric, PluginContext, Provider
from routerd.testing.context import make_context
from routerd.testing.contracts import Foreign, Samples
from routerd.testing.contracts.fabric_site import (
    DiagnosisRules,
    ForesightRules,
    SharedFabricContract,
    SiteWorld,
)
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.plugin import PveFabric, routerd_fabrics

pytestmark = pytest.mark.cloud


async def test_the_facts_name_guests_and_gateway(fabric: PveFabric) -> None:
    facts = await fabric.instance()
    assert (facts.instance, facts.next_hop, facts.route_tables) == ("qemu/100", "10.99.9.1", ("qemu/101",))
    assert [nic.ref for nic in facts.nics] == ["qemu/100"]


async def test_without_a_number_of_our_own_there_is_no_switch(home: Home, tmp_path: Path) -> None:
    async with started(tmp_path, options(tmp_path, vmid=None)) as fabric:
        facts = await fabric.instance()
        assert (facts.instance, facts.nics) == ("pve.example", ())
        assert await fabric.forwarding.observe() == {}


async def test_our_own_guest_that_the_token_cannot_see_is_named(home: Home, tmp_path: Path) -> None:
    async with started(tmp_path, options(tmp_path, vmid=999)) as fabric:
        with pytest.raises(PermanentError, match=r"guest 999.*VM\.Audit"):
            await fabric.instance()


async def test_the_ip_filter_goes_and_comes_back(fabric: PveFabric, home: Home) -> None:
    assert await fabric.forwarding.observe() == {NIC: OFF}
    change = Change(key=NIC, before=OFF, after=ON)
    assert await fabric.forwarding.apply([change]) == {}
    assert home.host.guests[100].firewall == {"enable": 1, "ipfilter": 0}
    assert await fabric.forwarding.observe() == {NIC: ON}
    assert await fabric.forwarding.apply([change]) == {}
    assert home.host.troubles.calls.count("PUT options") == 1
    assert await fabric.forwarding.apply([Change(key=NIC, before=ON, after=OFF)]) == {}
    assert home.host.guests[100].firewall == {"enable": 1, "ipfilter": 1}


@pytest.mark.parametrize("where", ["guest", "nic"])
async def test_where_there_is_no_firewall_nothing_is_filtered(
    fabric: PveFabric, home: Home, where: str
) -> None:
    guest = home.host.guests[100]
    if where == "guest":
        guest.firewall["enable"] = 0
    else:
        guest.config["net1"] = "virtio=BC:24:11:00:00:02,bridge=vmbr1,firewall=0"
    assert await fabric.forwarding.observe() == {NIC: ON}
    assert await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)]) == {}
    assert "PUT options" not in home.host.troubles.calls


async def test_an_ip_set_that_filters_is_named_and_left_alone(fabric: PveFabric, home: Home) -> None:
    home.host.guests[100].ipsets = ["ipfilter-net0", "ipfilter-net1", "management"]
    failures = await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)])
    assert isinstance(failures[NIC], NotOwnedError)
    # The NIC net0 has no firewall, so its set filters nothing.
    assert "IP set ipfilter-net1 drops" in str(failures[NIC])
    assert home.host.guests[100].firewall["ipfilter"] == 0
    assert await fabric.forwarding.observe() == {NIC: OFF}
    assert set(await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)])) == {NIC}
    assert home.host.troubles.calls.count("PUT options") == 1
    assert len(home.host.guests[100].ipsets) == 3


class TestContract(SharedFabricContract, ForesightRules, DiagnosisRules):
    """The suites of a fabric that shares its site, foresees and diagnoses; a guest's table has no limit."""

    @pytest.fixture
    def site(self, home: Home) -> SiteWorld:
        async def place(found: FabricRouteKey, next_hop: str | None) -> None:
            home.client.routes = [each for each in home.client.routes if each.prefix != found.prefix]
            if next_hop is not None:
                home.client.lead(found.prefix, IPv4Address(next_hop))

        async def read(found: FabricRouteKey) -> str | None:
            standing = home.client.find(found.prefix)
            return None if standing is None else str(standing.gateway)

        return SiteWorld(others=(str(OTHER), "10.99.9.3"), stranger="10.99.9.77", place=place, read=read)

    @pytest.fixture
    def provider(self, home: Home) -> Provider[Fabric]:
        return routerd_fabrics()[0]

    @pytest.fixture
    def options(self, tmp_path: Path) -> PveOptions:
        return options(tmp_path)

    @pytest.fixture
    def context(self, tmp_path: Path) -> PluginContext:
        return make_context(tmp_path, plugin="cloud_pve", clock=SteppingClock())

    @pytest.fixture
    def samples(self, home: Home) -> Mapping[str, Samples[Any, Any]]:
        async def place() -> None:
            home.place_foreign(REMOTE[2])

        async def read() -> object:
            return home.client.find(REMOTE[2])

        return {
            "forwarding": Samples(values={NIC: ON}, replacement={NIC: OFF}, refused={NicRef("qemu/101"): ON}),
            "routes": Samples(
                values={key(prefix): ROUTE for prefix in REMOTE[:2]},
                refused={FabricRouteKey(table=RouteTableRef("qemu/102"), prefix=REMOTE[0]): ROUTE},
                foreign=Foreign(key=key(REMOTE[2]), value=ROUTE, place=place, read=read),
            ),
        }
