"""What calls cost: few of them, each with a token of its account's bucket, and none while it is closed."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.aws_world import AwsWorld

from routerd.model.change import Change
from routerd.model.fabric import Forwarding
from routerd.testing.context import CountingPacing, make_context
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.plugin import AwsFabric
from routerd_lab.clouds.aws_api import ACCOUNT

pytestmark = pytest.mark.cloud


def addresses(count: int) -> list[IPv4Network]:
    return [IPv4Network((0x0A630000 + host, 32)) for host in range(count)]


@pytest.fixture
def pacing() -> CountingPacing:
    return CountingPacing()


async def look(fabric: AwsFabric) -> tuple[Any, Any]:
    return await fabric.forwarding.observe(), await fabric.routes.observe()


async def cold(fabric: AwsFabric, aws: AwsWorld, count: int) -> None:
    """Do what the loop does on an account that knows nothing of us."""
    await fabric.instance()
    switches, _ = await look(fabric)
    on = Forwarding(enabled=True)
    await fabric.forwarding.apply([Change(key=nic, before=now, after=on) for nic, now in switches.items()])
    wanted = [aws.create(prefix) for prefix in addresses(count)]
    assert fabric.routes.foresee(wanted) == {}
    assert await fabric.routes.apply(wanted) == {}


@pytest.mark.parametrize("count", [1, 50])
async def test_calls_from_cold(fabric: AwsFabric, aws: AwsWorld, count: int) -> None:
    await cold(fabric, aws, count)
    assert Counter(aws.troubles.calls) == {
        "DescribeNetworkInterfaces": 3,
        "DescribeVpcs": 1,
        "DescribeRouteTables": 3,
        "GetServiceQuota": 1,
        "GetAWSDefaultServiceQuota": 1,
        "ModifyNetworkInterfaceAttribute": 1,
        "CreateRoute": count,
    }


async def test_calls_for_one_change_and_for_none(fabric: AwsFabric, aws: AwsWorld) -> None:
    await cold(fabric, aws, 1)
    aws.troubles.record.clear()
    await look(fabric)
    assert aws.troubles.calls == ["DescribeNetworkInterfaces", "DescribeRouteTables"]
    aws.troubles.record.clear()
    assert await fabric.routes.apply([aws.create(addresses(2)[1])]) == {}
    assert aws.troubles.calls == ["DescribeRouteTables", "CreateRoute"]
    aws.troubles.record.clear()
    assert await fabric.routes.apply([aws.delete(addresses(1)[0])]) == {}
    assert aws.troubles.calls == ["DescribeRouteTables", "DeleteRoute"]


async def test_several_tables_are_read_by_one_call(make_fabric: Any, aws: AwsWorld) -> None:
    tables = (aws.main, aws.add_table(), aws.add_table())
    fabric = await make_fabric(AwsOptions(route_tables=tables))
    await fabric.routes.observe()
    assert aws.troubles.count("DescribeRouteTables") == 1


async def test_every_call_takes_a_token_of_its_account_and_region(aws: AwsWorld, tmp_path: Path) -> None:
    context = make_context(tmp_path)
    fabric = AwsFabric(context, AwsOptions())
    await fabric.start()
    await cold(fabric, aws, 3)
    await fabric.diagnose()
    pacers = cast("CountingPacing", context.pacing).pacers
    (pacer,) = pacers.values()
    assert set(pacers) == {f"{ACCOUNT}/{aws.region.region}"}
    assert pacer.taken == len(aws.troubles.calls)
    # Below the 5 calls a second, 50 at once, that EC2 gives an account for each changing action.
    assert pacer.rate < 5
    assert pacer.burst <= 25
    await fabric.aclose()


@pytest.mark.parametrize(("told", "held"), [(7, 7.0), (None, 10.0)])
async def test_a_throttled_answer_closes_the_bucket(
    aws: AwsWorld, tmp_path: Path, told: int | None, held: float
) -> None:
    context = make_context(tmp_path)
    fabric = AwsFabric(context, AwsOptions())
    await fabric.start()
    await fabric.instance()
    aws.troubles.fail_next("CreateRoute", status=503, code="RequestLimitExceeded", retry_after=told)
    assert len(await fabric.routes.apply([aws.create(prefix) for prefix in addresses(5)])) == 5
    (pacer,) = cast("CountingPacing", context.pacing).pacers.values()
    assert pacer.holds == [held]
    assert aws.troubles.count("CreateRoute") == 1
    await fabric.aclose()
