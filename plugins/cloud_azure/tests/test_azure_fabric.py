"""The plugin cloud_azure on the unmodified SDK, over HTTPS, against the emulated cloud."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from plugins.cloud_azure.tests.azure_world import (
    NIC_WRITE,
    OTHER,
    REMOTE,
    US,
    create,
    key,
    many,
    place,
    place_foreign,
)

from routerd.errors import PermanentError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, RouteTableRef
from routerd.spi import Fabric, PluginContext, Provider
from routerd.testing.context import make_context
from routerd.testing.contracts import Foreign, Samples
from routerd.testing.contracts.fabric_site import (
    DiagnosisRules,
    Quota,
    QuotaRules,
    SharedFabricContract,
    SiteWorld,
)
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.plugin import AzureFabric, routerd_fabrics
from routerd_lab.clouds.azure import AzureSubscription

pytestmark = pytest.mark.cloud

OURS = FabricRoute(next_hop=US)


async def test_a_vm_finds_itself_by_its_metadata(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    facts = await fabric.instance()
    assert facts.instance == cloud.instance("azure-leaf")
    assert [nic.ref for nic in facts.nics] == [cloud.interface("azure-leaf")]
    assert facts.next_hop == "10.82.10.10"
    assert facts.route_tables == (cloud.route_table,)


async def test_a_list_of_many_pages_is_read_to_its_end(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    await fabric.instance()
    # Three interfaces, two to a page; ours is made last.
    assert cloud.troubles.calls.count("Microsoft.Network/networkInterfaces/read") == 2


async def test_no_tables_means_that_no_route_is_written(cloud: AzureSubscription, tmp_path: Path) -> None:
    fabric = AzureFabric(make_context(tmp_path), AzureOptions(route_tables=()))
    await fabric.start()
    assert (await fabric.instance()).route_tables == ()
    assert await fabric.routes.observe() == {}
    assert "Microsoft.Network/routeTables/read" not in cloud.troubles.calls
    await fabric.aclose()


async def test_a_table_that_is_written_in_two_ways_is_one(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    other = cloud.ref("virtualNetworks/lab/subnets/other")
    cloud.put(other, {"addressPrefix": "10.82.11.0/24", "routeTable": {"id": cloud.route_table.upper()}})
    body = copy.deepcopy(cloud.resource(cloud.interface("azure-leaf"))["properties"])
    body["primary"] = False
    body["ipConfigurations"][0]["properties"]["subnet"]["id"] = other
    cloud.put(cloud.ref("networkInterfaces/second"), body)
    facts = await fabric.instance()
    assert len(facts.nics) == 2
    assert len(facts.route_tables) == 1


async def test_a_subnet_without_a_table_is_named(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    del cloud.resource(cloud.subnet)["properties"]["routeTable"]
    with pytest.raises(PermanentError, match="has no route table"):
        await fabric.instance()


async def test_forwarding_is_switched_once_and_nothing_else_changes(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    ref = cloud.interface("azure-leaf")
    cloud.resource(ref)["properties"]["fieldOfTheFuture"] = {"nested": [1, None]}
    before = copy.deepcopy(cloud.resource(ref))
    (nic,) = await fabric.forwarding.observe()
    change = Change(key=nic, before=Forwarding(enabled=False), after=Forwarding(enabled=True))
    assert await fabric.forwarding.apply([change]) == {}
    assert cloud.forwarding("azure-leaf")
    assert not cloud.forwarding("azure-client")
    before["properties"]["enableIPForwarding"] = True
    assert cloud.resource(ref) | {"etag": ""} == before | {"etag": ""}
    assert await fabric.forwarding.apply([change]) == {}
    assert cloud.troubles.count(NIC_WRITE) == 1


async def test_an_interface_that_changed_meanwhile_is_read_again(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    (nic,) = await fabric.forwarding.observe()
    stale = await fabric.account.api.interface(nic)
    cloud.resource(nic)["etag"] = 'W/"other"'
    with pytest.raises(TransientError, match="changed since it was read"):
        await fabric.account.api.set_forwarding(stale, enabled=True)
    cloud.troubles.fail_next(NIC_WRITE, status=412, code="PreconditionFailed", times=2)
    change = Change(key=nic, before=Forwarding(enabled=False), after=Forwarding(enabled=True))
    assert await fabric.forwarding.apply([change]) == {}
    assert cloud.forwarding("azure-leaf")


async def test_a_vm_without_an_identity_is_transient(cloud: AzureSubscription, tmp_path: Path) -> None:
    fabric = AzureFabric(
        make_context(tmp_path), AzureOptions(client_id="00000000-0000-0000-0000-000000000001")
    )
    await fabric.start()
    with pytest.raises(TransientError, match="assign a managed identity"):
        await fabric.instance()
    await fabric.aclose()


async def test_a_dry_run_changes_nothing(cloud: AzureSubscription, tmp_path: Path) -> None:
    fabric = AzureFabric(make_context(tmp_path, read_only=True), AzureOptions())
    await fabric.start()
    assert await fabric.routes.observe() == {}
    failures = await fabric.routes.apply([create(cloud, REMOTE[0])])
    assert set(failures) == {key(cloud, REMOTE[0])}
    assert REMOTE[0] not in cloud.routes()
    await fabric.aclose()


class TestContract(SharedFabricContract, QuotaRules, DiagnosisRules):
    """The suite that every fabric passes which shares its site, knows its quota and its permissions."""

    @pytest.fixture
    def provider(self, cloud: AzureSubscription) -> Provider[Fabric]:
        return routerd_fabrics()[0]

    @pytest.fixture
    def options(self) -> AzureOptions:
        return AzureOptions()

    @pytest.fixture
    def context(self, tmp_path: Path) -> PluginContext:
        return make_context(tmp_path, plugin="cloud_azure")

    @pytest.fixture
    def site(self, cloud: AzureSubscription) -> SiteWorld:
        async def placed(at: FabricRouteKey, next_hop: str | None) -> None:
            for body in cloud.routes_of_table():
                if body["properties"]["addressPrefix"] == str(at.prefix):
                    del cloud.resources[body["id"].lower()]
            if next_hop is not None:
                place(cloud, at.prefix, next_hop)

        async def read(at: FabricRouteKey) -> str | None:
            target = cloud.routes().get(at.prefix)
            return str(target) if target else None

        return SiteWorld(others=(OTHER, "10.82.10.6"), stranger="10.82.10.20", place=placed, read=read)

    @pytest.fixture
    def quota(self, cloud: AzureSubscription) -> Quota:
        cloud.limits["RoutesPerRouteTable"] = 12

        async def leave(free: int) -> None:
            for number, prefix in enumerate(many(12 - free)):
                cloud.add_route(f"theirs-{number}", prefix, "Internet")

        return Quota(limit=12, leave=leave)

    @pytest.fixture
    def samples(self, cloud: AzureSubscription) -> Mapping[str, Samples[Any, Any]]:
        nic = cloud.interface("azure-leaf")

        async def placed() -> None:
            place_foreign(cloud, REMOTE[2])

        async def read() -> object:
            return [key for key, target in cloud.routes().items() if target is None and key == REMOTE[2]]

        return {
            "forwarding": Samples(
                values={nic: Forwarding(enabled=True)},
                replacement={nic: Forwarding(enabled=False)},
                refused={cloud.interface("azure-client"): Forwarding(enabled=True)},
            ),
            "routes": Samples(
                values={key(cloud, prefix): OURS for prefix in REMOTE[:2]},
                refused={attrs.evolve(key(cloud, REMOTE[0]), table=RouteTableRef("/other")): OURS},
                foreign=Foreign(key=key(cloud, REMOTE[2]), value=OURS, place=placed, read=read),
            ),
        }
