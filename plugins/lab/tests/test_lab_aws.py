"""The emulated region of AWS by itself: who is let in, and the rules that moto lacks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from routerd_lab.clouds.aws import AwsRegion
from routerd_lab.clouds.state import Machine

pytestmark = pytest.mark.cloud

Client = TestClient[Any, Any]  # Any: requests and applications of aiohttp


@pytest.fixture
def region() -> AwsRegion:
    machine = Machine(
        name="aws-leaf", address=IPv4Address("10.81.10.10"), public=IPv4Address("198.51.100.59")
    )
    return AwsRegion(
        network=IPv4Network("10.81.0.0/16"), subnet=IPv4Network("10.81.10.0/24"), machines=(machine,)
    )


@pytest.fixture
async def metadata(region: AwsRegion) -> AsyncIterator[Client]:
    async with TestClient(TestServer(region.metadata("aws-leaf"))) as client:
        yield client


@pytest.fixture
async def api(region: AwsRegion) -> AsyncIterator[Client]:
    async with TestClient(TestServer(region.app())) as client:
        yield client


async def token(metadata: Client) -> dict[str, str]:
    answer = await metadata.put("/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    return {"X-aws-ec2-metadata-token": await answer.text()}


async def test_metadata_without_a_session_token_is_refused(metadata: Client) -> None:
    assert (await metadata.get("/latest/meta-data/instance-id")).status == 401
    assert (await metadata.put("/latest/api/token")).status == 400


async def test_metadata_names_the_interface(metadata: Client, region: AwsRegion) -> None:
    headers = await token(metadata)
    macs = "/latest/meta-data/network/interfaces/macs/"
    mac = (await (await metadata.get(macs, headers=headers)).text()).strip()
    answer = await metadata.get(f"{macs}{mac}interface-id", headers=headers)
    assert await answer.text() == region.interface("aws-leaf")
    answer = await metadata.get("/latest/meta-data/public-ipv4", headers=headers)
    assert await answer.text() == "198.51.100.59"
    assert (await metadata.get("/latest/meta-data/none", headers=headers)).status == 404


async def test_only_credentials_that_the_region_issued_are_accepted(
    api: Client, metadata: Client, region: AwsRegion
) -> None:
    form = {"Action": "DescribeVpcs", "Version": "2016-11-15"}
    assert (await api.post("/", data=form)).status == 400
    path = "/latest/meta-data/iam/security-credentials/routerd"
    issued = await (await metadata.get(path, headers=await token(metadata))).json(content_type=None)
    for key, status in ((issued["AccessKeyId"], 200), ("ASIAFORGED", 401)):
        scope = f"{key}/20260101/{region.region}/ec2/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
            "X-Amz-Security-Token": issued["Token"],
        }
        answer = await api.post("/", data=form, headers=headers)
        assert answer.status == status
    assert "AuthFailure" in await answer.text()


def test_what_the_fabric_enforces_is_what_the_api_holds(region: AwsRegion) -> None:
    assert region.routes() == {IPv4Network("0.0.0.0/0"): None}
    assert not region.forwarding("aws-leaf")
