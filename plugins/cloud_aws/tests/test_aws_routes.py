"""Routes are made and deleted while they are ours alone, in every table that is kept, and calls end early."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from typing import Any

import pytest
from tests.support.aws_world import LEAF, OTHER, AwsWorld

from routerd.errors import (
    NotOwnedError,
    PermanentError,
    ProviderError,
    SupersededError,
    TransientError,
    UnsupportedError,
)
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, Forwarding
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.plugin import AwsFabric
from routerd_lab.clouds.trouble import Kind, Lag, Trouble

pytestmark = pytest.mark.cloud

DEFAULT = IPv4Network("0.0.0.0/0")
REMOTE = [IPv4Network(text) for text in ("10.82.10.20/32", "10.83.10.20/32", "10.99.9.10/32")]
INSIDE = IPv4Network("10.81.77.1/32")


def before(aws: AwsWorld, monkeypatch: pytest.MonkeyPatch, action: str, act: Callable[[], None]) -> None:
    """Let somebody else act right before the region looks at our first call of `action`."""
    rule, done = aws.region.api._rule, []

    def racing(called: str, form: Mapping[str, str]) -> Any:
        if called == action and not done:
            done.append(called)
            act()
        return rule(called, form)

    monkeypatch.setattr(aws.region.api, "_rule", racing)


async def test_a_second_apply_writes_nothing(fabric: AwsFabric, aws: AwsWorld) -> None:
    changes = [aws.create(prefix) for prefix in REMOTE]
    assert await fabric.routes.apply(changes) == {}
    assert aws.targets() == {DEFAULT: aws.region.internet_gateway} | dict.fromkeys(REMOTE, aws.us)
    assert await fabric.routes.apply(changes) == {}
    assert aws.troubles.count("CreateRoute") == len(REMOTE)


async def test_every_kept_table_is_kept_and_no_other(make_fabric: Any, aws: AwsWorld) -> None:
    kept, foreign = aws.add_table(subnet=True), aws.add_table()
    fabric = await make_fabric(AwsOptions(route_tables=(aws.main, kept)))
    changes = [aws.create(prefix, table) for prefix in REMOTE for table in (aws.main, kept)]
    assert await fabric.routes.apply(changes) == {}
    assert set(await fabric.routes.observe()) == {change.key for change in changes}
    assert aws.targets(kept) == dict.fromkeys(REMOTE, aws.us)
    assert aws.targets(foreign) == {}
    failures = await fabric.routes.apply([aws.create(REMOTE[0], foreign)])
    assert isinstance(failures[aws.key(REMOTE[0], foreign)], NotOwnedError)
    assert "routeTables" in str(failures[aws.key(REMOTE[0], foreign)])
    gone = [aws.delete(prefix, table) for prefix in REMOTE for table in (aws.main, kept)]
    assert await fabric.routes.apply(gone) == {}
    assert aws.targets(kept) == {}
    assert set(aws.targets()) == {DEFAULT}


async def test_the_main_table_can_be_named_where_the_subnet_has_its_own(
    make_fabric: Any, aws: AwsWorld
) -> None:
    own = aws.add_table(subnet=True)
    fabric = await make_fabric(AwsOptions(route_tables=(aws.main,)))
    assert await fabric.routes.apply([aws.create(REMOTE[0])]) == {}
    assert aws.leads_to(REMOTE[0]) == aws.us
    assert aws.targets(own) == {}


async def test_a_table_that_is_not_there_keeps_no_other_from_being_kept(
    make_fabric: Any, aws: AwsWorld
) -> None:
    fabric = await make_fabric(AwsOptions(route_tables=("rtb-0", aws.main)))
    assert await fabric.routes.observe() == {}
    changes = [aws.create(REMOTE[0], "rtb-0"), aws.create(REMOTE[0])]
    assert set(fabric.routes.foresee(changes)) == {changes[0].key}
    failures = await fabric.routes.apply(changes)
    assert set(failures) == {changes[0].key}
    assert "rtb-0: does not exist" in str(failures[changes[0].key])
    assert aws.leads_to(REMOTE[0]) == aws.us


async def test_a_foreign_route_is_named_and_left_alone(fabric: AwsFabric, aws: AwsWorld) -> None:
    aws.place(REMOTE[2])
    failures = await fabric.routes.apply([aws.create(prefix) for prefix in REMOTE])
    assert set(failures) == {aws.key(REMOTE[2])}
    error = failures[aws.key(REMOTE[2])]
    assert isinstance(error, NotOwnedError)
    assert aws.region.internet_gateway in str(error)
    assert aws.main in str(error)
    failures = await fabric.routes.apply([aws.delete(prefix) for prefix in REMOTE])
    assert set(failures) == {aws.key(REMOTE[2])}
    assert isinstance(failures[aws.key(REMOTE[2])], SupersededError)
    assert set(aws.targets()) == {DEFAULT, REMOTE[2]}


async def test_a_foreign_blackhole_is_called_one_with_what_to_type(fabric: AwsFabric, aws: AwsWorld) -> None:
    aws.place(REMOTE[0], aws.other)
    aws.terminate(OTHER)
    failures = await fabric.routes.apply([aws.create(REMOTE[0])])
    text = str(failures[aws.key(REMOTE[0])])
    assert isinstance(failures[aws.key(REMOTE[0])], NotOwnedError)
    assert f"{aws.other}, not a router of this site; it is a blackhole" in text
    assert f"aws ec2 delete-route --route-table-id {aws.main} --destination-cidr-block {REMOTE[0]}" in text
    assert aws.leads_to(REMOTE[0]) == aws.other


async def test_a_blackhole_of_our_own_is_ours(fabric: AwsFabric, aws: AwsWorld) -> None:
    assert await fabric.routes.apply([aws.create(REMOTE[0])]) == {}
    aws.terminate(LEAF)
    assert set(await fabric.routes.observe()) == {aws.key(REMOTE[0])}
    assert await fabric.routes.apply([aws.delete(REMOTE[0])]) == {}
    assert aws.leads_to(REMOTE[0]) is None


async def test_a_route_made_by_somebody_else_in_between_is_recognised(
    fabric: AwsFabric, aws: AwsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(aws, monkeypatch, "CreateRoute", lambda: aws.place(REMOTE[0]))
    failures = await fabric.routes.apply([aws.create(REMOTE[0])])
    assert isinstance(failures[aws.key(REMOTE[0])], NotOwnedError)
    assert aws.leads_to(REMOTE[0]) == aws.region.internet_gateway


async def test_a_route_that_somebody_else_deleted_in_between_is_gone(
    fabric: AwsFabric, aws: AwsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await fabric.routes.apply([aws.create(REMOTE[0])]) == {}
    before(aws, monkeypatch, "DeleteRoute", lambda: aws.remove(REMOTE[0]))
    assert await fabric.routes.apply([aws.delete(REMOTE[0])]) == {}


async def test_a_late_reading_is_not_taken_for_a_deletion(
    fabric: AwsFabric, aws: AwsWorld, clock: Any
) -> None:
    """EC2 shows the route of a moment ago only in the second reading; it is ours to delete all the same."""
    await fabric.routes.observe()
    aws.troubles.lag(Lag(reads=1, operation="DescribeRouteTables"))
    assert await fabric.routes.apply([aws.create(REMOTE[0])]) == {}
    assert await fabric.routes.apply([aws.delete(REMOTE[0])]) == {}
    assert aws.leads_to(REMOTE[0]) is None
    assert clock.elapsed == 1.0


async def test_deletions_are_judged_by_a_young_reading(
    fabric: AwsFabric, aws: AwsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [IPv4Network((0x0A630000 + host, 32)) for host in range(12)]
    assert await fabric.routes.apply([aws.create(prefix) for prefix in many]) == {}
    aws.troubles.record.clear()
    # While the first ten are deleted, somebody leads the last one elsewhere.
    before(aws, monkeypatch, "DeleteRoute", lambda: aws.place(many[-1]))
    failures = await fabric.routes.apply([aws.delete(prefix) for prefix in many])
    assert set(failures) == {aws.key(many[-1])}
    assert isinstance(failures[aws.key(many[-1])], SupersededError)
    assert aws.leads_to(many[-1]) == aws.region.internet_gateway
    assert aws.troubles.count("DeleteRoute") == 11
    assert aws.troubles.count("DescribeRouteTables") == 3, "a route of ours that has gone is read twice"


async def test_a_prefix_of_the_vpc_itself_is_unsupported(fabric: AwsFabric, aws: AwsWorld) -> None:
    await fabric.routes.observe()
    foreseen = fabric.routes.foresee([aws.create(INSIDE), aws.create(REMOTE[0])])
    assert set(foreseen) == {aws.key(INSIDE)}
    failures = await fabric.routes.apply([aws.create(INSIDE)])
    assert isinstance(failures[aws.key(INSIDE)], UnsupportedError)
    assert "10.81.0.0/16" in str(failures[aws.key(INSIDE)])
    assert str(failures[aws.key(INSIDE)]) == str(foreseen[aws.key(INSIDE)])
    assert "CreateRoute" not in aws.troubles.calls


async def test_a_route_to_anybody_else_is_not_made(fabric: AwsFabric, aws: AwsWorld) -> None:
    failures = await fabric.routes.apply([aws.change(REMOTE[0], None, aws.other)])
    assert isinstance(failures[aws.key(REMOTE[0])], PermanentError)
    assert aws.leads_to(REMOTE[0]) is None


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (500, "InternalError", TransientError, "service failed"),
        (503, "Unavailable", TransientError, "service failed"),
        (400, "InvalidParameterValue", PermanentError, "refused"),
    ],
)
async def test_a_refusal_of_one_route_is_of_that_route_alone(
    fabric: AwsFabric, aws: AwsWorld, status: int, code: str, kind: type[ProviderError], words: str
) -> None:
    aws.troubles.fail_next("CreateRoute", status=status, code=code)
    failures = await fabric.routes.apply([aws.create(REMOTE[0]), aws.create(REMOTE[1])])
    assert set(failures) == {aws.key(REMOTE[0])}
    error = failures[aws.key(REMOTE[0])]
    assert isinstance(error, kind)
    assert words in str(error)
    assert f"{aws.main} {REMOTE[0]}" in str(error)
    assert aws.troubles.count("CreateRoute") == 2, "the SDK must not retry by itself"
    assert await fabric.routes.apply([aws.create(REMOTE[0])]) == {}


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "UnauthorizedOperation", PermanentError, "permission ec2:CreateRoute is missing"),
        (401, "AuthFailure", TransientError, "credentials are not accepted"),
        (503, "RequestLimitExceeded", TransientError, "throttled"),
    ],
)
async def test_a_refusal_that_every_call_would_meet_ends_the_calls(
    fabric: AwsFabric, aws: AwsWorld, status: int, code: str, kind: type[ProviderError], words: str
) -> None:
    other = aws.add_table()
    fabric = AwsFabric(fabric.account.ctx, AwsOptions(route_tables=(aws.main, other)))
    await fabric.start()
    aws.troubles.fail_next("CreateRoute", status=status, code=code, retry_after=7)
    changes = [aws.create(prefix, table) for table in (aws.main, other) for prefix in REMOTE]
    failures = await fabric.routes.apply(changes)
    assert list(failures) == [change.key for change in changes]
    assert aws.troubles.count("CreateRoute") == 1
    for error in failures.values():
        assert isinstance(error, kind)
        assert words in str(error)
        assert words != "throttled" or error.retry_after == dt.timedelta(seconds=7)
    assert "not tried" not in str(failures[changes[0].key])
    assert str(failures[changes[1].key]).startswith(f"aws route {REMOTE[1]} in {aws.main}: not tried")
    assert await fabric.routes.apply(changes) == {}
    await fabric.aclose()


@pytest.mark.parametrize("kind", [Kind.LOSE, Kind.CLOSE])
async def test_a_call_without_an_answer_is_seen_by_the_next_reading(
    fabric: AwsFabric, aws: AwsWorld, kind: Kind
) -> None:
    aws.troubles.add(Trouble(kind=kind, operation="CreateRoute"))
    changes = [aws.create(prefix) for prefix in REMOTE[:2]]
    failures = await fabric.routes.apply(changes)
    assert set(failures) == {change.key for change in changes}
    assert all("no answer" in str(error) for error in failures.values())
    assert (aws.key(REMOTE[0]) in await fabric.routes.observe()) is (kind is Kind.LOSE)
    assert await fabric.routes.apply(changes) == {}
    assert aws.targets() == {DEFAULT: aws.region.internet_gateway} | dict.fromkeys(REMOTE[:2], aws.us)


@pytest.mark.parametrize("kind", [Kind.FAIL, Kind.FAIL_AFTER, Kind.LOSE, Kind.THROTTLE])
@pytest.mark.parametrize("nth", range(12))
async def test_whatever_the_nth_call_does_the_next_pass_heals(
    fabric: AwsFabric, aws: AwsWorld, nth: int, kind: Kind
) -> None:
    there = aws.targets()
    aws.troubles.add(Trouble(kind=kind, skip=nth))

    async def converge() -> bool:
        try:
            await fabric.instance()
            observed = await fabric.forwarding.observe()
            on = Forwarding(enabled=True)
            switches = [Change(key=nic, before=now, after=on) for nic, now in observed.items() if now != on]
            failed = bool(await fabric.forwarding.apply(switches))
            present = await fabric.routes.observe()
            missing = [aws.create(prefix) for prefix in REMOTE if aws.key(prefix) not in present]
            return not (await fabric.routes.apply(missing)) and not failed
        except TransientError:
            return False

    first = await converge()
    struck = [call for call in aws.troubles.record if call.trouble is not None]
    assert len(struck) == 1, "the call that was to fail was never made"
    # Without Service Quotas the quota is assumed; that keeps no route from being made.
    assert first == struck[0].operation.endswith("ServiceQuota")
    assert await converge()
    assert aws.region.forwarding(LEAF)
    assert aws.targets() == there | dict.fromkeys(REMOTE, aws.us)
    assert set(await fabric.routes.observe()) == {aws.key(prefix) for prefix in REMOTE}
    assert (await fabric.routes.observe())[aws.key(REMOTE[0])] == FabricRoute(next_hop=aws.us)
