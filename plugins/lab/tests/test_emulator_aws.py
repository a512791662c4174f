"""The emulated region is AWS for the unmodified official SDK: each behaviour that a router depends on.

Everything goes through boto3 as it is installed, with its own signatures and the role's credentials from
the metadata service, under the real names and over TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tests.support.aws_world import LEAF, OTHER, AwsWorld, served

from routerd_lab.clouds.aws_api import DEFAULT_ROUTES, ROUTES_QUOTA
from routerd_lab.clouds.trouble import Kind, Lag, Trouble

pytestmark = pytest.mark.cloud

REMOTE = IPv4Network("10.82.10.20/32")
QUOTA = {"ServiceCode": "vpc", "QuotaCode": ROUTES_QUOTA}


class Sdk:
    """Clients as anybody would make them; their calls block, so each runs in a thread.

    So does the making: a client looks for its credentials at once.
    """

    @classmethod
    async def made(cls, world: AwsWorld, **options: Any) -> Sdk:
        return await asyncio.to_thread(cls, world, **options)

    def __init__(self, world: AwsWorld, **options: Any) -> None:
        session = boto3.session.Session(region_name=world.region.region)
        config = Config(**options)
        self.clients = {name: session.client(name, config=config) for name in ("ec2", "service-quotas")}
        self.table = world.main

    async def do(self, method: str, client: str = "ec2", **arguments: Any) -> Any:
        return await asyncio.to_thread(getattr(self.clients[client], method), **arguments)

    async def route(self, method: str, prefix: IPv4Network = REMOTE, **arguments: Any) -> Any:
        arguments.setdefault("RouteTableId", self.table)
        return await self.do(method, DestinationCidrBlock=str(prefix), **arguments)

    async def shown(self, prefix: IPv4Network = REMOTE) -> dict[str, Any] | None:
        """Return the route to a prefix as the API shows it."""
        answer = await self.do("describe_route_tables", RouteTableIds=[self.table])
        routes = answer["RouteTables"][0]["Routes"]
        return next((each for each in routes if each.get("DestinationCidrBlock") == str(prefix)), None)

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[AwsWorld]:
    async with served(tmp_path) as world:
        yield world


@pytest.fixture
async def sdk(aws: AwsWorld) -> AsyncIterator[Sdk]:
    made = await Sdk.made(aws, retries={"total_max_attempts": 1})
    yield made
    made.close()


def refusal(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


async def test_a_route_is_made_led_elsewhere_and_deleted(sdk: Sdk, aws: AwsWorld) -> None:
    assert (await sdk.route("create_route", NetworkInterfaceId=aws.us))["Return"] is True
    shown = await sdk.shown()
    assert shown is not None
    assert (shown["NetworkInterfaceId"], shown["State"], shown["Origin"]) == (aws.us, "active", "CreateRoute")
    await sdk.route("replace_route", NetworkInterfaceId=aws.other)
    shown = await sdk.shown()
    assert shown is not None
    assert shown["NetworkInterfaceId"] == aws.other
    await sdk.route("delete_route")
    assert await sdk.shown() is None


@pytest.mark.parametrize(
    ("method", "prefix", "code"),
    [
        ("create_route", "0.0.0.0/0", "RouteAlreadyExists"),
        ("create_route", "10.81.77.1/32", "InvalidParameterValue"),
        ("replace_route", "10.82.10.20/32", "InvalidParameterValue"),
        ("delete_route", "10.82.10.20/32", "InvalidRoute.NotFound"),
    ],
)
async def test_refusals_have_the_codes_of_ec2(
    sdk: Sdk, aws: AwsWorld, method: str, prefix: str, code: str
) -> None:
    target = {} if method == "delete_route" else {"NetworkInterfaceId": aws.us}
    with pytest.raises(ClientError) as error:
        await sdk.route(method, IPv4Network(prefix), **target)
    assert refusal(error) == (400, code)
    assert error.value.response["ResponseMetadata"]["RequestId"]


async def test_what_is_not_there_has_its_own_code(sdk: Sdk, aws: AwsWorld) -> None:
    with pytest.raises(ClientError) as error:
        await sdk.do("describe_route_tables", RouteTableIds=["rtb-0123456789abcdef0"])
    assert refusal(error) == (400, "InvalidRouteTableID.NotFound")
    filtered = await sdk.do(
        "describe_route_tables", Filters=[{"Name": "route-table-id", "Values": ["rtb-0123456789abcdef0"]}]
    )
    assert filtered["RouteTables"] == []
    with pytest.raises(ClientError) as error:
        await sdk.route("create_route", NetworkInterfaceId="eni-0123456789abcdef0")
    assert refusal(error) == (400, "InvalidNetworkInterfaceID.NotFound")


async def test_a_route_to_an_interface_that_is_gone_is_a_blackhole(sdk: Sdk, aws: AwsWorld) -> None:
    await sdk.route("create_route", NetworkInterfaceId=aws.other)
    await sdk.route("create_route", IPv4Network("10.83.10.20/32"), NetworkInterfaceId=aws.us)
    aws.terminate(OTHER)
    lost, kept = await sdk.shown(), await sdk.shown(IPv4Network("10.83.10.20/32"))
    assert lost is not None
    assert kept is not None
    assert (lost["NetworkInterfaceId"], lost["State"]) == (aws.other, "blackhole")
    assert kept["State"] == "active"
    await sdk.route("replace_route", NetworkInterfaceId=aws.us)
    mended = await sdk.shown()
    assert mended is not None
    assert mended["State"] == "active"


async def test_the_check_is_switched_and_shown(sdk: Sdk, aws: AwsWorld) -> None:
    await sdk.do(
        "modify_network_interface_attribute", NetworkInterfaceId=aws.us, SourceDestCheck={"Value": False}
    )
    answer = await sdk.do("describe_network_interfaces", NetworkInterfaceIds=[aws.us, aws.other])
    checks = {each["NetworkInterfaceId"]: each["SourceDestCheck"] for each in answer["NetworkInterfaces"]}
    assert checks == {aws.us: False, aws.other: True}
    assert aws.region.forwarding(LEAF)


async def test_the_quota_counts_what_somebody_made(sdk: Sdk, aws: AwsWorld) -> None:
    aws.region.api.account_routes = 2
    await sdk.route("create_route", NetworkInterfaceId=aws.us)
    with pytest.raises(ClientError) as error:
        await sdk.route("create_route", IPv4Network("10.83.10.20/32"), NetworkInterfaceId=aws.us)
    assert refusal(error) == (400, "RouteLimitExceeded")
    await sdk.route("replace_route", NetworkInterfaceId=aws.other)


async def test_service_quotas_says_what_the_account_has(sdk: Sdk, aws: AwsWorld) -> None:
    with pytest.raises(ClientError) as error:
        await sdk.do("get_service_quota", "service-quotas", **QUOTA)
    assert refusal(error) == (400, "NoSuchResourceException")
    default = await sdk.do("get_aws_default_service_quota", "service-quotas", **QUOTA)
    assert default["Quota"]["Value"] == DEFAULT_ROUTES
    aws.region.api.account_routes = 750
    applied = await sdk.do("get_service_quota", "service-quotas", **QUOTA)
    assert (applied["Quota"]["Value"], applied["Quota"]["QuotaCode"]) == (750.0, ROUTES_QUOTA)


@pytest.mark.parametrize("action", ["create_route", "replace_route", "delete_route"])
async def test_a_dry_run_of_a_route_changes_nothing(sdk: Sdk, aws: AwsWorld, action: str) -> None:
    before = aws.targets()
    target = {} if action == "delete_route" else {"NetworkInterfaceId": aws.us}
    with pytest.raises(ClientError) as error:
        await sdk.route(action, DryRun=True, **target)
    assert refusal(error) == (412, "DryRunOperation")
    assert aws.targets() == before


@pytest.mark.parametrize("dry", [True, False])
async def test_what_the_role_may_not_do_is_unauthorized_also_as_a_dry_run(
    sdk: Sdk, aws: AwsWorld, dry: bool
) -> None:
    aws.region.api.denied |= {"ec2:CreateRoute", "servicequotas:GetServiceQuota"}
    with pytest.raises(ClientError) as error:
        await sdk.route("create_route", DryRun=dry, NetworkInterfaceId=aws.us)
    assert refusal(error) == (403, "UnauthorizedOperation")
    assert "Encoded authorization failure message" in str(error.value)
    assert aws.leads_to(REMOTE) is None
    with pytest.raises(ClientError) as error:
        await sdk.do("get_service_quota", "service-quotas", **QUOTA)
    assert refusal(error) == (400, "AccessDeniedException")


async def test_credentials_of_nobody_are_refused(aws: AwsWorld) -> None:
    session = boto3.session.Session(
        "ASIAFORGED", "secret", aws_session_token="token", region_name=aws.region.region
    )
    client = session.client("ec2", config=Config(retries={"total_max_attempts": 1}))
    with pytest.raises(ClientError) as error:
        await asyncio.to_thread(client.describe_vpcs)
    assert refusal(error) == (401, "AuthFailure")
    client.close()


async def test_throttling_is_met_by_the_sdks_own_retries(sdk: Sdk, aws: AwsWorld) -> None:
    aws.troubles.add(Trouble(kind=Kind.THROTTLE, operation="DescribeVpcs", times=2))
    with pytest.raises(ClientError) as error:
        await sdk.do("describe_vpcs")
    assert refusal(error) == (503, "RequestLimitExceeded")
    patient = await Sdk.made(aws, retries={"total_max_attempts": 3, "mode": "standard"})
    assert (await patient.do("describe_vpcs"))["Vpcs"]
    patient.close()
    assert aws.troubles.count("DescribeVpcs", 503) == 2


@pytest.mark.parametrize(
    ("kind", "made"), [(Kind.FAIL, False), (Kind.FAIL_AFTER, True), (Kind.CLOSE, False), (Kind.LOSE, True)]
)
async def test_a_failed_call_may_have_had_its_effect(sdk: Sdk, aws: AwsWorld, kind: Kind, made: bool) -> None:
    aws.troubles.add(Trouble(kind=kind, operation="CreateRoute"))
    with pytest.raises((ClientError, BotoCoreError)):
        await sdk.route("create_route", NetworkInterfaceId=aws.us)
    assert aws.leads_to(REMOTE) == (aws.us if made else None)


async def test_a_reading_after_a_write_may_be_late(sdk: Sdk, aws: AwsWorld) -> None:
    assert await sdk.shown() is None
    aws.troubles.lag(Lag(reads=2, operation="DescribeRouteTables"))
    await sdk.route("create_route", NetworkInterfaceId=aws.us)
    assert [await sdk.shown() is None for _ in range(3)] == [True, True, False]
    with pytest.raises(ClientError) as error:
        await sdk.route("create_route", NetworkInterfaceId=aws.us)
    assert refusal(error) == (400, "RouteAlreadyExists"), "a write knows what a reading does not show yet"
