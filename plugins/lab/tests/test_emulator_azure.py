"""The emulated Azure is one for the unmodified official SDK: each behaviour that a router depends on.

Everything goes through `azure-identity` and `azure-mgmt-network` as they are installed, with their own
retries and their own way to follow an operation, under the real names and over TLS.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, TypeVar

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.core.rest import HttpRequest
from azure.identity import ManagedIdentityCredential
from azure.mgmt.network import NetworkManagementClient
from tests.support.loopback import Api, metadata, on_loopback

from routerd_lab.clouds.azure import AzureSubscription
from routerd_lab.clouds.azure_access import Assignment
from routerd_lab.clouds.state import Machine
from routerd_lab.clouds.trouble import Kind, Lag, Trouble

pytestmark = pytest.mark.cloud

T = TypeVar("T")

READ = "Microsoft.Network/routeTables/read"
WRITE = "Microsoft.Network/routeTables/routes/write"
POLL = "Microsoft.Network/locations/operations/read"
REMOTE = IPv4Network("10.81.10.20/32")
ROUTE = {"addressPrefix": str(REMOTE), "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.82.10.10"}


class Sdk:
    """A client of the official SDK as anybody would make it; its calls block, so each runs in a thread."""

    def __init__(self, cloud: AzureSubscription, client_id: str | None = None, **options: Any) -> None:
        self.credential = ManagedIdentityCredential(client_id=client_id)
        self.network = NetworkManagementClient(self.credential, cloud.subscription, **options)
        self.group = cloud.group

    async def do(self, work: Callable[[NetworkManagementClient], T]) -> T:
        """Run a call, or whatever else is made of the client."""
        return await asyncio.to_thread(work, self.network)

    async def refused(self, work: Callable[[NetworkManagementClient], object]) -> HttpResponseError:
        """Return the error of a call that is refused."""
        with pytest.raises(HttpResponseError) as refused:
            await self.do(work)
        return refused.value

    def put(self, name: str, properties: dict[str, str], **more: Any) -> Callable[[Any], Any]:
        """Return the call that makes a route and follows the operation to its end."""
        return lambda network: network.routes.begin_create_or_update(
            self.group, "lab", name, {"properties": properties}, polling_interval=0.01, **more
        ).result()

    def table(self, network: NetworkManagementClient) -> Any:
        """Read the route table."""
        return network.route_tables.get(self.group, "lab")

    def close(self) -> None:
        """Close the connections."""
        self.network.close()
        self.credential.close()


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[AzureSubscription]:
    cloud = AzureSubscription(
        network=IPv4Network("10.82.0.0/16"),
        subnet=IPv4Network("10.82.10.0/24"),
        machines=[
            Machine(name=name, address=IPv4Address(f"10.82.10.{number}"))
            for number, name in ((5, "rr"), (20, "client"), (10, "azure-leaf"))
        ],
    )
    services = (
        Api(app=cloud.app(), names=cloud.hostnames),
        metadata(cloud.metadata("azure-leaf")),
    )
    async with on_loopback(tmp_path, *services):
        yield cloud


@pytest.fixture
async def sdk(cloud: AzureSubscription) -> AsyncIterator[Sdk]:
    sdk = Sdk(cloud)
    yield sdk
    sdk.close()


@pytest.fixture
async def once(cloud: AzureSubscription) -> AsyncIterator[Sdk]:
    """The same without the SDK's retries."""
    sdk = Sdk(cloud, retry_total=0)
    yield sdk
    sdk.close()


# --- who is let in ----------------------------------------------------------------------------------


async def test_the_managed_identity_opens_the_api(sdk: Sdk, cloud: AzureSubscription) -> None:
    table = await sdk.do(sdk.table)
    assert table.id == cloud.route_table
    assert table.properties.provisioning_state == "Succeeded"


async def test_an_identity_that_the_vm_has_not_gets_no_token(cloud: AzureSubscription) -> None:
    sdk = Sdk(cloud, client_id="00000000-0000-0000-0000-000000000001")
    with pytest.raises(ClientAuthenticationError):
        await sdk.do(sdk.table)
    sdk.close()


async def test_what_no_role_allows_is_refused_by_its_name(sdk: Sdk, cloud: AzureSubscription) -> None:
    scope = f"/subscriptions/{cloud.subscription}/resourceGroups/{cloud.group}"
    reader = Assignment(scope=scope, actions=("*/read",))
    cloud.access.assignments[:] = [reader]
    await sdk.do(sdk.table)
    error = await sdk.refused(sdk.put("r", ROUTE))
    assert (error.status_code, error.error.code) == (403, "AuthorizationFailed")
    assert f"perform action '{WRITE}' over scope '{cloud.route_table}/routes/r'" in error.message
    cloud.access.assignments.append(Assignment(scope=cloud.route_table, actions=(WRITE,)))
    await sdk.do(sdk.put("r", ROUTE))


async def test_writing_an_interface_needs_a_permission_for_what_it_refers_to(
    sdk: Sdk, cloud: AzureSubscription
) -> None:
    join = "Microsoft.Network/virtualNetworks/subnets/join/action"
    scope = f"/subscriptions/{cloud.subscription}"
    cloud.access.assignments[:] = [Assignment(scope=scope, actions=("*",), not_actions=(join,))]
    nic = await sdk.do(lambda network: network.network_interfaces.get(cloud.group, "azure-leaf-nic"))
    error = await sdk.refused(
        lambda network: network.network_interfaces.begin_create_or_update(
            cloud.group, "azure-leaf-nic", nic
        ).result()
    )
    assert (error.status_code, error.error.code) == (403, "LinkedAuthorizationFailed")
    assert f"perform action(s) '{join}' on the linked scope(s) '{cloud.subnet}'" in error.message


async def test_an_identity_sees_what_it_is_allowed(sdk: Sdk, cloud: AzureSubscription) -> None:
    scope = f"/subscriptions/{cloud.subscription}"
    cloud.access.assignments[:] = [
        Assignment(scope=scope, actions=("*/read",)),
        Assignment(scope=f"{scope}/resourceGroups/other", actions=("*",)),
        Assignment(scope=cloud.route_table, actions=("Microsoft.Network/*",), not_actions=("*/delete",)),
        Assignment(scope=f"{scope}/resourceGroups/{cloud.group}", actions=(POLL,)),
    ]
    url = f"{cloud.route_table}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
    pages = []
    while url:
        answer = await sdk.do(lambda network, url=url: network.send_request(HttpRequest("GET", url)))
        answer.raise_for_status()
        pages.append([(each["actions"], each["notActions"]) for each in answer.json()["value"]])
        url = answer.json().get("nextLink", "")
    assert pages == [[(["*/read"], []), (["Microsoft.Network/*"], ["*/delete"])], [([POLL], [])]]


# --- reading ----------------------------------------------------------------------------------------


async def test_a_list_has_pages(sdk: Sdk, cloud: AzureSubscription) -> None:
    listed = await sdk.do(lambda network: list(network.network_interfaces.list(cloud.group)))
    assert {each.name for each in listed} == {"rr-nic", "client-nic", "azure-leaf-nic"}
    assert cloud.troubles.count("Microsoft.Network/networkInterfaces/read") == 2


async def test_the_limit_of_routes_is_among_the_usages(sdk: Sdk, cloud: AzureSubscription) -> None:
    cloud.limits["RoutesPerRouteTable"] = 400
    usages = await sdk.do(lambda network: list(network.usages.list(cloud.location)))
    (limit,) = [each for each in usages if each.name.value == "RoutesPerRouteTable"]
    assert (limit.limit, limit.unit, limit.name.localized_value) == (400, "Count", "Routes per Route Table")


async def test_what_is_not_there_is_not_found(sdk: Sdk, cloud: AzureSubscription) -> None:
    with pytest.raises(ResourceNotFoundError) as refused:
        await sdk.do(lambda network: network.route_tables.get(cloud.group, "other"))
    assert refused.value.error.code == "ResourceNotFound"


async def test_a_subnet_and_its_table_name_each_other(sdk: Sdk, cloud: AzureSubscription) -> None:
    subnet = await sdk.do(lambda network: network.subnets.get(cloud.group, "lab", "default"))
    assert subnet.properties.route_table.id == cloud.route_table
    table = await sdk.do(sdk.table)
    assert [each.id for each in table.properties.subnets] == [cloud.subnet]


# --- writing ----------------------------------------------------------------------------------------


async def test_a_route_is_made_by_an_operation_that_is_followed(sdk: Sdk, cloud: AzureSubscription) -> None:
    cloud.polls = 3
    made = await sdk.do(sdk.put("r", ROUTE))
    assert made.properties.next_hop_ip_address == "10.82.10.10"
    assert made.properties.provisioning_state == "Succeeded"
    assert cloud.troubles.count(POLL) == 3 + 1
    assert cloud.troubles.count(WRITE, 201) == 1
    await sdk.do(sdk.put("r", {**ROUTE, "nextHopIpAddress": "10.82.10.5"}))
    assert cloud.troubles.count(WRITE, 200) == 1
    assert cloud.routes()[REMOTE] == IPv4Address("10.82.10.5")


async def test_an_operation_says_when_to_ask_again(sdk: Sdk, cloud: AzureSubscription) -> None:
    cloud.retry_after = 1
    began = time.monotonic()
    await sdk.do(sdk.put("r", ROUTE))
    assert time.monotonic() - began >= 1
    assert cloud.troubles.count(POLL) == 2


async def test_an_operation_can_fail_in_the_end(sdk: Sdk, cloud: AzureSubscription) -> None:
    cloud.failing.append(("InternalServerError", "An error occurred."))
    error = await sdk.refused(sdk.put("r", ROUTE))
    assert error.error.code == "InternalServerError"
    assert error.status_code == 200


async def test_a_route_is_deleted_and_so_is_what_is_gone(sdk: Sdk, cloud: AzureSubscription) -> None:
    await sdk.do(sdk.put("r", ROUTE))
    for _ in range(2):
        await sdk.do(
            lambda network: network.routes.begin_delete(
                cloud.group, "lab", "r", polling_interval=0.01
            ).result()
        )
    assert REMOTE not in cloud.routes()
    delete = "Microsoft.Network/routeTables/routes/delete"
    assert [cloud.troubles.count(delete, status) for status in (202, 204)] == [1, 1]


async def test_a_table_and_its_routes_are_one_version(sdk: Sdk, cloud: AzureSubscription) -> None:
    await sdk.do(sdk.put("r", ROUTE))
    before = await sdk.do(sdk.table)
    await sdk.do(sdk.put("s", {**ROUTE, "addressPrefix": "10.81.10.21/32"}))
    after = await sdk.do(sdk.table)
    assert before.etag != after.etag
    assert {each.etag for each in after.properties.routes} == {after.etag}


async def test_a_write_under_an_old_version_is_refused(sdk: Sdk, cloud: AzureSubscription) -> None:
    await sdk.do(sdk.put("r", ROUTE))
    old = await sdk.do(sdk.table)
    await sdk.do(sdk.put("s", {**ROUTE, "addressPrefix": "10.81.10.21/32"}))
    error = await sdk.refused(sdk.put("r", ROUTE, headers={"If-Match": old.etag}))
    assert (error.status_code, error.error.code) == (412, "PreconditionFailed")
    assert error.error.details[0].code == "PreconditionFailedEtagMismatch"
    error = await sdk.refused(
        lambda network: network.route_tables.begin_create_or_update(
            cloud.group, "lab", old, headers={"If-Match": old.etag}
        ).result()
    )
    assert error.status_code == 412
    error = await sdk.refused(
        lambda network: network.routes.begin_delete(
            cloud.group, "lab", "r", headers={"If-Match": old.etag}
        ).result()
    )
    assert error.status_code == 412


async def test_a_table_is_replaced_with_its_routes(sdk: Sdk, cloud: AzureSubscription) -> None:
    """What a request leaves out goes; what only the API says stays."""
    await sdk.do(sdk.put("r", ROUTE))
    await sdk.do(sdk.put("s", {**ROUTE, "addressPrefix": "10.81.10.21/32"}))
    cloud.resource(cloud.route_table)["tags"] = {"owner": "somebody"}
    table = await sdk.do(sdk.table)
    table.properties.routes = [each for each in table.properties.routes if each.name == "r"]
    table.properties.routes.append({"name": "t", "properties": {**ROUTE, "addressPrefix": "10.81.10.22/32"}})
    written = await sdk.do(
        lambda network: network.route_tables.begin_create_or_update(
            cloud.group, "lab", table, headers={"If-Match": table.etag}, polling_interval=0.01
        ).result()
    )
    assert {each.name for each in written.properties.routes} == {"r", "t"}
    assert written.tags == {"owner": "somebody"}
    assert [each.id for each in written.properties.subnets] == [cloud.subnet]
    assert written.etag != table.etag
    without = {"location": cloud.location, "properties": {}}
    await sdk.do(
        lambda network: network.route_tables.begin_create_or_update(
            cloud.group, "lab", without, polling_interval=0.01
        ).result()
    )
    assert set(cloud.routes()) == {IPv4Network("0.0.0.0/0")}
    assert cloud.resource(cloud.route_table)["tags"] == {}


async def test_a_prefix_has_one_route(sdk: Sdk, cloud: AzureSubscription) -> None:
    await sdk.do(sdk.put("r", ROUTE))
    error = await sdk.refused(sdk.put("s", ROUTE))
    assert (error.status_code, error.error.code) == (400, "RouteConflict")
    both = [{"name": name, "properties": ROUTE} for name in ("r", "s")]
    error = await sdk.refused(
        lambda network: network.route_tables.begin_create_or_update(
            cloud.group, "lab", {"location": cloud.location, "properties": {"routes": both}}
        ).result()
    )
    assert error.error.code == "RouteConflict"


async def test_a_table_holds_so_many_routes_and_no_more(sdk: Sdk, cloud: AzureSubscription) -> None:
    cloud.limits["RoutesPerRouteTable"] = 1
    await sdk.do(sdk.put("r", ROUTE))
    error = await sdk.refused(sdk.put("s", {**ROUTE, "addressPrefix": "10.81.10.21/32"}))
    assert error.status_code == 400
    assert "more than 1 routes" in error.message
    await sdk.do(sdk.put("r", {**ROUTE, "nextHopIpAddress": "10.82.10.5"}))


async def test_an_interface_is_replaced_under_its_version(sdk: Sdk, cloud: AzureSubscription) -> None:
    def update(nic: Any) -> Callable[[NetworkManagementClient], Any]:
        return lambda network: network.network_interfaces.begin_create_or_update(
            cloud.group, nic.name, nic, headers={"If-Match": nic.etag}, polling_interval=0.01
        ).result()

    nic = await sdk.do(lambda network: network.network_interfaces.get(cloud.group, "azure-leaf-nic"))
    nic.properties.enable_ip_forwarding = True
    written = await sdk.do(update(nic))
    assert written.properties.enable_ip_forwarding
    assert written.properties.mac_address == nic.properties.mac_address
    assert cloud.forwarding("azure-leaf")
    assert (await sdk.refused(update(nic))).status_code == 412


# --- trouble ----------------------------------------------------------------------------------------


async def test_the_sdk_waits_as_long_as_it_is_told(sdk: Sdk, once: Sdk, cloud: AzureSubscription) -> None:
    cloud.troubles.add(Trouble(kind=Kind.THROTTLE, operation=READ))
    began = time.monotonic()
    await sdk.do(sdk.table)
    assert time.monotonic() - began >= 1
    assert cloud.troubles.count(READ) == 2
    cloud.troubles.add(Trouble(kind=Kind.THROTTLE, operation=READ))
    error = await once.refused(once.table)
    assert (error.status_code, error.error.code) == (429, "TooManyRequests")
    assert error.response is not None
    assert error.response.headers["Retry-After"] == "1"


async def test_a_write_while_another_is_at_work_is_refused_though_not_too_often(
    once: Sdk, cloud: AzureSubscription
) -> None:
    cloud.exclusive, cloud.polls = True, 10**9
    begun = await once.do(
        lambda network: network.routes.begin_create_or_update(
            cloud.group, "lab", "r", {"properties": ROUTE}, polling=False
        )
    )
    assert begun.result().properties.provisioning_state == "Updating"
    error = await once.refused(once.put("s", {**ROUTE, "addressPrefix": "10.81.10.21/32"}))
    assert (error.status_code, error.error.code) == (429, "RetryableError")
    assert error.error.details[0].code == "RetryableErrorDueToAnotherOperation"


@pytest.mark.parametrize(("kind", "done"), [(Kind.FAIL, False), (Kind.FAIL_AFTER, True)])
async def test_a_call_can_fail_before_and_after_its_effect(
    once: Sdk, cloud: AzureSubscription, kind: Kind, done: bool
) -> None:
    cloud.troubles.add(Trouble(kind=kind, operation=WRITE))
    error = await once.refused(once.put("r", ROUTE))
    assert (error.status_code, error.error.code) == (500, "InternalServerError")
    assert (REMOTE in cloud.routes()) is done


@pytest.mark.parametrize(("kind", "done"), [(Kind.CLOSE, False), (Kind.LOSE, True)])
async def test_an_answer_can_be_lost(once: Sdk, cloud: AzureSubscription, kind: Kind, done: bool) -> None:
    await once.do(once.table)
    cloud.troubles.add(Trouble(kind=kind, operation=WRITE))
    with pytest.raises(AzureError) as lost:
        await once.do(once.put("r", ROUTE))
    assert not isinstance(lost.value, HttpResponseError)
    assert (REMOTE in cloud.routes()) is done


async def test_reads_can_lag_behind_writes_and_operations_do_not(sdk: Sdk, cloud: AzureSubscription) -> None:
    await sdk.do(sdk.table)
    cloud.troubles.lag(Lag(reads=2, operation=READ))
    await sdk.do(sdk.put("r", ROUTE))
    seen = [len((await sdk.do(sdk.table)).properties.routes) for _ in range(3)]
    assert seen == [0, 0, 1]
