"""What is missing is found before it is needed, by the cloud's own name, and nothing else is said to be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs
import pytest
from plugins.cloud_azure.tests.azure_world import REMOTE, US, create

from routerd.errors import PermanentError
from routerd.model.change import Change
from routerd.model.fabric import Finding, Forwarding
from routerd.testing.context import make_context
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.limits import OWN, ROLE, SUBSCRIPTION_ROLE, WRITE_TABLE, Grant, allowed
from routerd_cloud_azure.plugin import AzureFabric
from routerd_lab.clouds.azure import AzureSubscription
from routerd_lab.clouds.azure_access import Assignment

PAGE = Path(__file__).parents[3] / "docs" / "clouds" / "azure.md"


def grant(cloud: AzureSubscription, *actions: str) -> None:
    """Let the identity do these and nothing else."""
    scope = f"/subscriptions/{cloud.subscription}/resourceGroups/{cloud.group}"
    cloud.access.assignments[:] = [Assignment(scope=scope, actions=actions)]


def missing(findings: object) -> set[str]:
    return {each.subject for each in findings if each.state == "missing"}  # type: ignore[attr-defined] - a list of findings


async def work(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    """Do everything that a router ever does; raises the first failure."""
    await fabric.instance()
    (nic,) = await fabric.forwarding.observe()
    on, off = Forwarding(enabled=True), Forwarding(enabled=False)
    switch = Change(key=nic, before=off, after=on)
    await fabric.routes.observe()
    changes = [create(cloud, prefix) for prefix in REMOTE]
    back = [Change(key=change.key, before=change.after, after=None) for change in changes]
    for failures in (
        await fabric.forwarding.apply([switch]),
        await fabric.routes.apply(changes[:1]),
        await fabric.routes.apply(changes),
        await fabric.routes.apply(back[:1]),
        await fabric.routes.apply(back),
    ):
        for error in failures.values():
            raise error


@pytest.mark.cloud
@pytest.mark.parametrize("spared", [set(), {WRITE_TABLE, OWN}], ids=["whole", "least"])
async def test_the_role_of_the_page_suffices_for_everything(
    fabric: AzureFabric, cloud: AzureSubscription, spared: set[str]
) -> None:
    grant(cloud, *(action for action in ROLE if action not in spared))
    await work(fabric, cloud)
    assert US not in {str(hop) for hop in cloud.routes().values()}
    assert missing(await fabric.diagnose()) == set()


@pytest.mark.cloud
async def test_the_role_for_the_subscription_tells_the_limit(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    cloud.limits["RoutesPerRouteTable"] = 1000
    grant(cloud, *ROLE)
    scope = f"/subscriptions/{cloud.subscription}"
    cloud.access.assignments.append(Assignment(scope=scope, actions=SUBSCRIPTION_ROLE))
    found = {each.subject: each for each in await fabric.diagnose()}
    assert found[SUBSCRIPTION_ROLE[0]].detail == "1000 routes a table, the limit of the subscription"
    assert set(ROLE) | set(SUBSCRIPTION_ROLE) <= found.keys()


@pytest.mark.cloud
@pytest.mark.parametrize("action", sorted(set(ROLE) - {WRITE_TABLE, OWN}))
async def test_each_permission_that_is_needed_is_missed(
    fabric: AzureFabric, cloud: AzureSubscription, action: str
) -> None:
    grant(cloud, *(each for each in ROLE if each not in {action, WRITE_TABLE}))
    with pytest.raises(PermanentError, match=f"permission {action} is missing"):
        await work(fabric, cloud)
    if action == "Microsoft.Network/networkInterfaces/read":
        with pytest.raises(PermanentError, match=f"permission {action} is missing"):
            await fabric.diagnose()
        return
    found = {each.subject: each for each in await fabric.diagnose()}
    assert found[action].state == "missing"
    assert "routerd router" in found[action].remedy
    assert missing(found.values()) - {action} <= {f"route table {cloud.route_table}"}


@pytest.mark.cloud
async def test_a_permission_at_one_interface_is_not_one_at_another(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    first, second = cloud.interface("azure-leaf"), cloud.ref("networkInterfaces/second")
    cloud.put(second, {**cloud.resource(first)["properties"], "primary": False})
    write = "Microsoft.Network/networkInterfaces/write"
    grant(cloud, *(each for each in ROLE if each != write))
    cloud.access.assignments.append(Assignment(scope=first, actions=(write,)))
    found = {each.subject: each for each in await fabric.diagnose()}
    assert found[write].state == "missing"
    assert second in found[write].detail
    assert second in found[write].remedy


@pytest.mark.cloud
async def test_who_may_not_see_its_permissions_is_told_so(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    grant(cloud, *(each for each in ROLE if each != OWN))
    found = {each.subject: each for each in await fabric.diagnose()}
    assert found[OWN].state == "unknown"
    assert OWN in found[OWN].remedy
    assert {found[each].state for each in ROLE} == {"unknown"}


@pytest.mark.cloud
async def test_one_question_without_an_answer_leaves_the_others(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    cloud.troubles.fail_next(OWN, status=429, code="TooManyRequests")
    found = {each.subject: each for each in await fabric.diagnose()}
    assert {each.state for each in found.values()} == {"ok", "unknown"}
    assert found[OWN].state == "unknown"
    assert "throttled" in found[OWN].detail


@pytest.mark.cloud
async def test_what_an_interface_seldom_refers_to_needs_a_permission_too(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    pool = {"id": cloud.ref("applicationSecurityGroups/routers")}
    nic = cloud.resource(cloud.interface("azure-leaf"))
    nic["properties"]["ipConfigurations"][0]["properties"]["applicationSecurityGroups"] = [pool]
    grant(cloud, *ROLE)
    action = "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action"
    assert missing(await fabric.diagnose()) == {action}
    with pytest.raises(PermanentError, match=f"permission {action} is missing"):
        await work(fabric, cloud)


@pytest.mark.cloud
async def test_a_subnet_without_a_table_is_found(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    del cloud.resource(cloud.subnet)["properties"]["routeTable"]
    found = {each.subject: each for each in await fabric.diagnose()}
    finding = found[f"route table of {cloud.subnet}"]
    assert finding.state == "missing"
    assert f"az network vnet subnet update --ids {cloud.subnet}" in finding.remedy


async def _table(cloud: AzureSubscription, tmp_path: Path, **options: object) -> Finding:
    options = {"route_tables": (cloud.route_table,), **options}
    fabric = AzureFabric(make_context(tmp_path), attrs.evolve(AzureOptions(), **options))
    await fabric.start()
    found = {each.subject: each for each in await fabric.diagnose()}
    await fabric.aclose()
    return found[f"route table {cloud.route_table}"]


@pytest.mark.cloud
async def test_a_table_that_nobody_uses_is_found(cloud: AzureSubscription, tmp_path: Path) -> None:
    del cloud.resource(cloud.subnet)["properties"]["routeTable"]
    finding = await _table(cloud, tmp_path)
    assert finding.state == "missing"
    assert "no subnet uses it" in finding.detail


@pytest.mark.cloud
async def test_a_table_of_another_network_needs_a_peering(cloud: AzureSubscription, tmp_path: Path) -> None:
    del cloud.resource(cloud.subnet)["properties"]["routeTable"]
    other = cloud.ref("virtualNetworks/other/subnets/default")
    cloud.put(other, {"addressPrefix": "10.90.0.0/24", "routeTable": {"id": cloud.route_table}})
    finding = await _table(cloud, tmp_path)
    assert finding.state == "unknown"
    assert "peer it" in finding.remedy


@pytest.mark.cloud
async def test_a_table_without_room_is_found_with_its_number(
    cloud: AzureSubscription, tmp_path: Path
) -> None:
    cloud.add_route("theirs", REMOTE[0], "Internet")
    finding = await _table(cloud, tmp_path, routes_per_route_table=1)
    assert finding.state == "missing"
    assert "1 of 1 routes in use" in finding.detail


def test_assignments_add_up_and_wildcards_stand_for_any_text() -> None:
    some = Grant(actions=("Microsoft.Network/routeTables/*",), not_actions=("*/delete",))
    reader = Grant(actions=("*/read",), not_actions=())
    assert allowed([some], "microsoft.network/ROUTETABLES/routes/write")
    assert not allowed([some], "Microsoft.Network/routeTables/routes/delete")
    assert not allowed([some], "Microsoft.Network/networkInterfaces/read")
    assert allowed([some, reader], "Microsoft.Network/networkInterfaces/read")
    assert not allowed([], "Microsoft.Network/networkInterfaces/read")
    assert not allowed([Grant(actions=("Microsoft.Network/a.b",), not_actions=())], "Microsoft.Network/a-b")


def test_the_page_has_the_roles_that_are_checked() -> None:
    roles = [
        json.loads(text) for text in re.findall(r"^(\{\n.*?^\})$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    ]
    assert [sorted(role["Actions"]) for role in roles] == [sorted(ROLE), sorted(SUBSCRIPTION_ROLE)]
    assert {role["IsCustom"] for role in roles} == {True}
