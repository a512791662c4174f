"""The quota of routes is the option's, the account's or assumed, and is named with its number."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from tests.support.aws_world import AwsWorld

from routerd.errors import PermanentError
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.limits import ASK_AGAIN_SECONDS
from routerd_cloud_aws.plugin import AwsFabric
from routerd_lab.clouds.trouble import Kind, Trouble

pytestmark = pytest.mark.cloud


def addresses(count: int, start: str = "10.99.0.0") -> list[IPv4Network]:
    first = int(IPv4Network(f"{start}/32").network_address)
    return [IPv4Network((first + host, 32)) for host in range(count)]


def fill(aws: AwsWorld, count: int) -> None:
    """Have somebody else's routes in the main table, the default route among them."""
    for prefix in addresses(count - 1, "10.200.0.0"):
        aws.place(prefix)


async def refused(fabric: AwsFabric, aws: AwsWorld, count: int) -> str:
    """Return what is said of the last of `count` new routes."""
    await fabric.routes.observe()
    wanted = [aws.create(prefix) for prefix in addresses(count)]
    return str(fabric.routes.foresee(wanted).get(wanted[-1].key, ""))


async def test_the_accounts_quota_is_asked_for_once(fabric: AwsFabric, aws: AwsWorld) -> None:
    aws.region.api.account_routes = 60
    for _ in range(3):
        assert await refused(fabric, aws, 59) == ""
    text = await refused(fabric, aws, 60)
    assert "holds 1 of 60 routes" in text
    assert "60 more are wanted" in text
    assert "aws service-quotas request-service-quota-increase" in text
    assert aws.troubles.count("GetServiceQuota") == 1
    assert aws.troubles.count("GetAWSDefaultServiceQuota") == 0


async def test_an_account_without_a_value_has_the_default(fabric: AwsFabric, aws: AwsWorld) -> None:
    assert await refused(fabric, aws, 499) == ""
    assert "of 500 routes" in await refused(fabric, aws, 500)


async def test_the_option_goes_before_the_account(make_fabric: Any, aws: AwsWorld) -> None:
    fabric = await make_fabric(AwsOptions(route_quota=3))
    assert await refused(fabric, aws, 2) == ""
    assert "holds 1 of 3 routes" in await refused(fabric, aws, 3)
    assert "GetServiceQuota" not in aws.troubles.calls


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("denied", "permission servicequotas:GetServiceQuota is missing"),
        ("default denied", "permission servicequotas:GetAWSDefaultServiceQuota is missing"),
        ("lost", "no answer"),
        ("broken", "service failed"),
    ],
)
async def test_without_an_answer_fifty_are_assumed_and_that_is_said(
    fabric: AwsFabric, aws: AwsWorld, cause: str, words: str
) -> None:
    match cause:
        case "denied":
            aws.region.api.denied.add("servicequotas:GetServiceQuota")
        case "default denied":
            aws.region.api.denied.add("servicequotas:GetAWSDefaultServiceQuota")
        case "lost":
            aws.troubles.add(Trouble(kind=Kind.LOSE, operation="GetServiceQuota"))
        case "broken":
            aws.troubles.add(Trouble(kind=Kind.FAIL, operation="GetServiceQuota"))
    assert await refused(fabric, aws, 49) == ""
    text = await refused(fabric, aws, 50)
    assert "holds 1 of 50 routes" in text
    assert "50 is assumed" in text
    assert words in text
    assert "routeQuota" in text
    assert "allow servicequotas:GetServiceQuota" in text


async def test_a_quota_that_was_raised_is_noticed(fabric: AwsFabric, aws: AwsWorld, clock: Any) -> None:
    aws.region.api.account_routes = 10
    assert "of 10 routes" in await refused(fabric, aws, 20)
    aws.region.api.account_routes = 100
    assert "of 10 routes" in await refused(fabric, aws, 20), "asked too soon"
    await clock.sleep(ASK_AGAIN_SECONDS)
    assert await refused(fabric, aws, 20) == ""
    await clock.sleep(ASK_AGAIN_SECONDS)
    assert await refused(fabric, aws, 20) == ""
    assert aws.troubles.count("GetServiceQuota") == 2, "a table with room needs no asking"


async def test_a_later_failure_to_ask_forgets_nothing(fabric: AwsFabric, aws: AwsWorld, clock: Any) -> None:
    aws.region.api.account_routes = 60
    assert "of 60 routes" in await refused(fabric, aws, 60)
    aws.region.api.denied.add("servicequotas:GetServiceQuota")
    await clock.sleep(ASK_AGAIN_SECONDS)
    assert "of 60 routes" in await refused(fabric, aws, 60)


async def test_local_routes_and_those_of_ipv6_are_not_counted(make_fabric: Any, aws: AwsWorld) -> None:
    aws.ec2.create_route(
        aws.main, None, destination_ipv6_cidr_block="::/0", gateway_id=aws.region.internet_gateway
    )
    fabric = await make_fabric(AwsOptions(route_quota=2))
    assert await refused(fabric, aws, 1) == ""
    assert "holds 1 of 2 routes" in await refused(fabric, aws, 2)


async def test_each_table_has_its_own_room(make_fabric: Any, aws: AwsWorld) -> None:
    second = aws.add_table()
    fabric = await make_fabric(AwsOptions(route_quota=5, route_tables=(aws.main, second)))
    fill(aws, 4)
    await fabric.routes.observe()
    wanted = [aws.create(prefix, table) for table in (aws.main, second) for prefix in addresses(2)]
    assert set(fabric.routes.foresee(wanted)) == {wanted[1].key}


async def test_apply_counts_by_a_new_reading_before_it_calls(make_fabric: Any, aws: AwsWorld) -> None:
    fabric = await make_fabric(AwsOptions(route_quota=5))
    assert await refused(fabric, aws, 4) == ""
    fill(aws, 3)
    wanted = [aws.create(prefix) for prefix in addresses(4)]
    failures = await fabric.routes.apply(wanted)
    assert set(failures) == {change.key for change in wanted[2:]}
    assert all(isinstance(error, PermanentError) for error in failures.values())
    assert "holds 5 of 5 routes" in str(failures[wanted[2].key])
    assert aws.troubles.count("CreateRoute") == 2


async def test_what_is_deleted_makes_room_in_the_same_apply(make_fabric: Any, aws: AwsWorld) -> None:
    fabric = await make_fabric(AwsOptions(route_quota=2))
    old, new = addresses(2)
    assert await fabric.routes.apply([aws.create(old)]) == {}
    assert await fabric.routes.apply([aws.create(new), aws.delete(old)]) == {}
    assert aws.leads_to(new) == aws.us


async def test_a_quota_that_only_the_api_knows_is_told_once(make_fabric: Any, aws: AwsWorld) -> None:
    """A prefix list counts as many times as it may have entries, which a table does not show."""
    aws.region.api.account_routes = 3
    fabric = await make_fabric(AwsOptions(route_quota=500))
    failures = await fabric.routes.apply([aws.create(prefix) for prefix in addresses(5)])
    assert len(failures) == 3
    first = str(failures[aws.key(addresses(3)[2])])
    assert "RouteLimitExceeded" in first
    assert "routerd counts 3 of 500 routes" in first
    assert "prefix list" in first
    assert aws.troubles.count("CreateRoute") == 3, "a table that is full is not asked again and again"
