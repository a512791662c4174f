"""The emulated Azure subscription by itself: who is let in, and what only its raw answers show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from routerd_lab.clouds.azure import DROP, AzureSubscription
from routerd_lab.clouds.state import Machine

pytestmark = pytest.mark.cloud

Client = TestClient[Any, Any]  # Any: requests and applications of aiohttp

VERSION = {"api-version": "2024-05-01"}
REMOTE = IPv4Network("10.81.10.20/32")


@pytest.fixture
def cloud() -> AzureSubscription:
    return AzureSubscription(
        network=IPv4Network("10.82.0.0/16"),
        subnet=IPv4Network("10.82.10.0/24"),
        machines=(Machine(name="azure-leaf", address=IPv4Address("10.82.10.10")),),
    )


@pytest.fixture
async def api(cloud: AzureSubscription) -> AsyncIterator[Client]:
    token = cloud.issue("https://management.azure.com/")
    headers = {"Authorization": f"Bearer {token}"}
    async with TestClient(TestServer(cloud.app()), headers=headers) as client:
        yield client


async def test_metadata_needs_its_header_and_a_version(cloud: AzureSubscription) -> None:
    async with TestClient(TestServer(cloud.metadata("azure-leaf"))) as client:
        assert (await client.get("/metadata/instance", params=VERSION)).status == 400
        assert (await client.get("/metadata/instance", headers={"Metadata": "true"})).status == 400
        answer = await client.get("/metadata/instance", params=VERSION, headers={"Metadata": "true"})
        assert (await answer.json())["compute"]["resourceId"] == cloud.instance("azure-leaf")


async def test_a_token_for_another_resource_opens_nothing(cloud: AzureSubscription) -> None:
    token = cloud.issue("https://vault.azure.net")
    async with TestClient(TestServer(cloud.app())) as client:
        headers = {"Authorization": f"Bearer {token}"}
        answer = await client.get(cloud.route_table, params=VERSION, headers=headers)
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "InvalidAuthenticationToken"


async def test_resource_ids_ignore_case(cloud: AzureSubscription, api: Client) -> None:
    assert (await api.get(cloud.route_table.upper(), params=VERSION)).status == 200


async def test_a_write_is_an_operation_that_ends_later(cloud: AzureSubscription, api: Client) -> None:
    path = f"{cloud.route_table}/routes/r"
    properties = {
        "addressPrefix": str(REMOTE),
        "nextHopType": "VirtualAppliance",
        "nextHopIpAddress": "10.82.10.10",
    }
    answer = await api.put(path, params=VERSION, json={"properties": properties})
    assert answer.status == 201
    assert (await answer.json())["properties"]["provisioningState"] == "Updating"
    poll = answer.headers["Azure-AsyncOperation"].removeprefix("https://management.azure.com")
    assert [(await (await api.get(poll)).json())["status"] for _ in range(2)] == ["InProgress", "Succeeded"]
    assert cloud.routes()[REMOTE] == IPv4Address("10.82.10.10")
    assert (await api.put(path + "2", params=VERSION, json={"properties": properties})).status == 400


async def test_a_replacement_resets_what_it_leaves_out(cloud: AzureSubscription, api: Client) -> None:
    path = cloud.interface("azure-leaf")
    body = await (await api.get(path, params=VERSION)).json()
    del body["properties"]["networkSecurityGroup"]
    assert (await api.put(path, params=VERSION, json=body, headers={"If-Match": "W/x"})).status == 412
    assert (await api.put(path, params=VERSION, json=body, headers={"If-Match": body["etag"]})).status == 200
    assert "networkSecurityGroup" not in cloud.resource(path)["properties"]


def test_a_route_that_drops_has_a_next_hop_that_nobody_has(cloud: AzureSubscription) -> None:
    cloud.add_route("drop", REMOTE, "None")
    assert cloud.routes()[REMOTE] == DROP
