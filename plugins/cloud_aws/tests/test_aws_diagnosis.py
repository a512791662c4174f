"""A diagnosis names missing permissions and what of the VPC would stop a leaf, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Any

import pytest
from tests.support.aws_world import LEAF, OTHER, AwsWorld

from routerd.errors import TransientError
from routerd.model.fabric import Finding
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.limits import PERMISSIONS
from routerd_cloud_aws.plugin import AwsFabric
from routerd_lab.clouds.trouble import Kind, Trouble

pytestmark = pytest.mark.cloud

REMOTE = IPv4Network("10.82.10.20/32")


def missing(findings: Sequence[Finding]) -> set[str]:
    return {each.subject for each in findings if each.state == "missing"}


def find(findings: Sequence[Finding], subject: str) -> Finding:
    return next(each for each in findings if each.subject.startswith(subject))


@pytest.mark.parametrize("permission", sorted(PERMISSIONS))
async def test_each_missing_permission_is_named(shared: AwsFabric, aws: AwsWorld, permission: str) -> None:
    aws.region.api.denied.add(permission)
    findings = await shared.diagnose()
    assert missing(findings) == {permission}
    assert permission in find(findings, permission).remedy
    assert "Encoded" not in find(findings, permission).detail
    subjects = {each.subject for each in findings}
    assert subjects >= PERMISSIONS, "one that is missing hides no other"


async def test_all_missing_permissions_are_named_at_once(shared: AwsFabric, aws: AwsWorld) -> None:
    aws.region.api.denied |= PERMISSIONS
    findings = await shared.diagnose()
    # Without the descriptions nobody knows which route tables to try the others on.
    on_tables = {"ec2:CreateRoute", "ec2:DeleteRoute", "ec2:ReplaceRoute"}
    assert missing(findings) == PERMISSIONS - on_tables
    assert {find(findings, each).state for each in on_tables} == {"unknown"}
    assert find(findings, "network").state == "unknown"


async def test_named_tables_are_tried_without_the_descriptions(make_fabric: Any, aws: AwsWorld) -> None:
    fabric = await make_fabric(AwsOptions(route_tables=(aws.main,)), others=frozenset({aws.other}))
    aws.region.api.denied |= PERMISSIONS
    assert missing(await fabric.diagnose()) == PERMISSIONS


async def test_nothing_is_changed_and_everything_is_a_dry_run(shared: AwsFabric, aws: AwsWorld) -> None:
    await shared.instance()
    before = aws.targets(), aws.region.forwarding(LEAF)
    changes: list[None] = []
    aws.region.api._on_change = lambda: changes.append(None)
    assert missing(await shared.diagnose()) == set()
    assert (aws.targets(), aws.region.forwarding(LEAF)) == before
    assert changes == []
    for operation in ("CreateRoute", "DeleteRoute", "ReplaceRoute", "ModifyNetworkInterfaceAttribute"):
        assert aws.troubles.count(operation, 412) == aws.troubles.count(operation) == 1


async def test_takeovers_need_no_permission_where_nobody_shares_the_site(
    fabric: AwsFabric, aws: AwsWorld
) -> None:
    aws.region.api.denied.add("ec2:ReplaceRoute")
    findings = await fabric.diagnose()
    assert missing(findings) == set()
    assert "not needed" in find(findings, "ec2:ReplaceRoute").detail


async def test_service_quotas_is_not_needed_where_the_option_says_the_number(
    make_fabric: Any, aws: AwsWorld
) -> None:
    aws.region.api.denied |= {"servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota"}
    findings = await (await make_fabric(AwsOptions(route_quota=100))).diagnose()
    assert missing(findings) == set()
    assert find(findings, "quota").detail.startswith("100 routes a table")


async def test_routes_need_no_permission_where_no_table_is_kept(make_fabric: Any, aws: AwsWorld) -> None:
    aws.region.api.denied |= {"ec2:CreateRoute", "ec2:DeleteRoute"}
    findings = await (await make_fabric(AwsOptions(route_tables=()))).diagnose()
    assert {each.state for each in findings} == {"ok"}


async def test_an_assumed_quota_is_not_known(fabric: AwsFabric, aws: AwsWorld) -> None:
    aws.troubles.add(Trouble(kind=Kind.LOSE, operation="GetServiceQuota", times=None))
    found = find(await fabric.diagnose(), "quota")
    assert found.state == "unknown"
    assert "50 is assumed" in found.remedy


async def test_tables_that_serve_nobody_are_named(make_fabric: Any, aws: AwsWorld) -> None:
    elsewhere = aws.ec2.create_route_table(aws.ec2.create_vpc("10.70.0.0/16").id).id
    idle = aws.add_table()
    fabric = await make_fabric(AwsOptions(route_tables=(aws.main, idle, elsewhere, "rtb-0")))
    findings = await fabric.diagnose()
    tables = {f"route table {ref}" for ref in (idle, elsewhere, "rtb-0")}
    assert tables <= missing(findings)
    assert "associate-route-table" in find(findings, f"route table {idle}").remedy
    assert "belongs to vpc-" in find(findings, f"route table {elsewhere}").detail
    assert find(findings, f"route table {aws.main}").state == "ok"


async def test_subnets_that_are_left_out_and_blackholes_are_told(fabric: AwsFabric, aws: AwsWorld) -> None:
    own = aws.add_table(subnet=True)
    aws.place(REMOTE, aws.other, own)
    aws.terminate(OTHER)
    findings = await fabric.diagnose()
    assert missing(findings) == set()
    assert f"{aws.main} (main)" in find(findings, "other route tables").detail
    assert f"foreign blackholes: {REMOTE}" in find(findings, f"route table {own}").detail


async def test_when_nothing_can_be_asked_it_is_an_error(
    fabric: AwsFabric, aws: AwsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.troubles.fail_next("DescribeNetworkInterfaces", status=401, code="AuthFailure", times=1)
    with pytest.raises(TransientError, match="credentials are not accepted"):
        await fabric.diagnose()


async def test_a_call_that_fails_in_the_middle_leaves_one_thing_unknown(
    fabric: AwsFabric, aws: AwsWorld
) -> None:
    aws.troubles.add(Trouble(kind=Kind.THROTTLE, operation="DeleteRoute"))
    findings = await fabric.diagnose()
    assert {each.subject for each in findings if each.state == "unknown"} == {"ec2:DeleteRoute"}
    assert re.search("throttled", find(findings, "ec2:DeleteRoute").detail)
