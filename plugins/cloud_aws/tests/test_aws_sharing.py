"""A route of the site's other router is taken over and given back between two readings, and never deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from typing import Any

import pytest
from tests.support.aws_world import CLIENT, OTHER, AwsWorld

from routerd.errors import NotOwnedError, ProviderError, SupersededError, TransientError
from routerd_cloud_aws.plugin import AwsFabric
from routerd_lab.clouds.trouble import Kind, Lag, Trouble

pytestmark = pytest.mark.cloud

REMOTE = [IPv4Network(text) for text in ("10.82.10.20/32", "10.83.10.20/32", "10.99.9.10/32")]


def around(
    aws: AwsWorld,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Let somebody else act right before and right after the region makes a call of `action`."""
    rule, ask = aws.region.api._rule, aws.region.api._ask_moto

    def racing(called: str, form: Mapping[str, str]) -> Any:
        if called == action:
            before()
        return rule(called, form)

    def raced(request: Any, body: bytes) -> Any:
        answer = ask(request, body)
        if f"Action={action}".encode() in body:
            after()
        return answer

    monkeypatch.setattr(aws.region.api, "_rule", racing)
    monkeypatch.setattr(aws.region.api, "_ask_moto", raced)


async def takeover(fabric: AwsFabric, aws: AwsWorld, prefix: IPv4Network = REMOTE[0]) -> ProviderError | None:
    failures = await fabric.routes.apply([aws.change(prefix, aws.other, aws.us)])
    return failures.get(aws.key(prefix))


async def test_a_takeover_reads_before_and_after(shared: AwsFabric, aws: AwsWorld) -> None:
    aws.place(REMOTE[0], aws.other)
    await shared.instance()
    aws.troubles.record.clear()
    assert await takeover(shared, aws) is None
    assert aws.troubles.calls == ["DescribeRouteTables", "ReplaceRoute", "DescribeRouteTables"]
    assert aws.leads_to(REMOTE[0]) == aws.us


async def test_many_takeovers_need_a_reading_for_every_ten(shared: AwsFabric, aws: AwsWorld) -> None:
    many = [IPv4Network((0x0A630000 + host, 32)) for host in range(25)]
    for prefix in many:
        aws.place(prefix, aws.other)
    assert await shared.routes.apply([aws.change(prefix, aws.other, aws.us) for prefix in many]) == {}
    assert {aws.leads_to(prefix) for prefix in many} == {aws.us}
    assert aws.troubles.count("ReplaceRoute") == 25
    # Beside the one that finds the tables: one before, and one after each ten, which serves the next ten.
    assert aws.troubles.count("DescribeRouteTables") == 1 + 4


async def test_a_blackhole_of_the_other_router_is_taken_over(shared: AwsFabric, aws: AwsWorld) -> None:
    aws.place(REMOTE[0], aws.other)
    aws.terminate(OTHER)
    assert set(await shared.routes.observe()) == {aws.key(REMOTE[0])}
    assert await takeover(shared, aws) is None
    assert aws.leads_to(REMOTE[0]) == aws.us


async def test_a_blackhole_of_somebody_else_stays(shared: AwsFabric, aws: AwsWorld) -> None:
    aws.place(REMOTE[0], aws.region.interface(CLIENT))
    aws.terminate(CLIENT)
    await shared.routes.observe()
    change = aws.change(REMOTE[0], aws.other, aws.us)
    foreseen = shared.routes.foresee([change])
    error = await takeover(shared, aws)
    assert isinstance(error, NotOwnedError)
    assert "a blackhole" in str(error)
    assert str(foreseen[change.key]) == str(error)
    assert "ReplaceRoute" not in aws.troubles.calls


async def test_what_became_foreign_since_it_was_observed_is_left(shared: AwsFabric, aws: AwsWorld) -> None:
    aws.place(REMOTE[0], aws.other)
    await shared.routes.observe()
    aws.place(REMOTE[0])
    assert isinstance(await takeover(shared, aws), NotOwnedError)
    assert aws.leads_to(REMOTE[0]) == aws.region.internet_gateway


async def test_a_creation_does_not_take_over(shared: AwsFabric, aws: AwsWorld) -> None:
    """The loop asked for a new route; whether the other router's is to be replaced it says next time."""
    aws.place(REMOTE[0], aws.other)
    failures = await shared.routes.apply([aws.create(REMOTE[0])])
    assert isinstance(failures[aws.key(REMOTE[0])], TransientError)
    assert aws.other in str(failures[aws.key(REMOTE[0])])
    assert aws.leads_to(REMOTE[0]) == aws.other


async def test_a_takeover_of_what_is_gone_is_a_creation(shared: AwsFabric, aws: AwsWorld) -> None:
    assert await takeover(shared, aws) is None
    assert aws.leads_to(REMOTE[0]) == aws.us
    assert "ReplaceRoute" not in aws.troubles.calls


async def test_a_route_that_goes_between_reading_and_takeover_is_looked_at_again(
    shared: AwsFabric, aws: AwsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.place(REMOTE[0], aws.other)
    around(aws, monkeypatch, "ReplaceRoute", before=lambda: aws.remove(REMOTE[0]))
    error = await takeover(shared, aws)
    assert isinstance(error, TransientError)
    assert "is not there" in str(error)
    assert await takeover(shared, aws) is None


async def test_who_is_quicker_after_the_takeover_is_named(
    shared: AwsFabric, aws: AwsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two routers that both believe that they are the active one see each other, and neither is silent."""
    aws.place(REMOTE[0], aws.other)
    around(aws, monkeypatch, "ReplaceRoute", after=lambda: aws.place(REMOTE[0], aws.other))
    error = await takeover(shared, aws)
    assert isinstance(error, TransientError)
    assert f"leads to {aws.other}" in str(error)
    assert aws.troubles.count("ReplaceRoute") == 1, "who lost does not fight within one pass"


async def test_a_late_reading_is_waited_for(shared: AwsFabric, aws: AwsWorld, clock: Any) -> None:
    aws.place(REMOTE[0], aws.other)
    await shared.routes.observe()
    aws.troubles.lag(Lag(reads=2, operation="DescribeRouteTables"))
    assert await takeover(shared, aws) is None
    assert clock.elapsed == 4.0
    assert aws.leads_to(REMOTE[0]) == aws.us


async def test_a_reading_that_stays_late_is_no_success_and_no_second_takeover(
    shared: AwsFabric, aws: AwsWorld
) -> None:
    aws.place(REMOTE[0], aws.other)
    aws.troubles.lag(Lag(seconds=600, operation="DescribeRouteTables"))
    error = await takeover(shared, aws)
    assert isinstance(error, TransientError)
    assert "EC2 shows the change late" in str(error)
    assert aws.troubles.count("ReplaceRoute") == 1
    aws.troubles.clear()
    assert await takeover(shared, aws) is None
    assert aws.troubles.count("ReplaceRoute") == 1


async def test_an_undo_gives_back_only_what_is_still_ours(shared: AwsFabric, aws: AwsWorld) -> None:
    aws.place(REMOTE[0], aws.us)
    aws.place(REMOTE[1])
    back = [aws.change(prefix, aws.us, aws.other) for prefix in REMOTE]
    failures = await shared.routes.apply(back)
    assert aws.leads_to(REMOTE[0]) == aws.other
    assert isinstance(failures[aws.key(REMOTE[1])], SupersededError)
    assert isinstance(failures[aws.key(REMOTE[2])], SupersededError), "what is gone is not made for another"
    assert set(failures) == {aws.key(REMOTE[1]), aws.key(REMOTE[2])}
    assert aws.leads_to(REMOTE[2]) is None


async def test_an_undo_towards_an_interface_that_is_gone_says_so(shared: AwsFabric, aws: AwsWorld) -> None:
    aws.place(REMOTE[0], aws.us)
    aws.terminate(OTHER)
    failures = await shared.routes.apply([aws.change(REMOTE[0], aws.us, aws.other)])
    assert "InvalidNetworkInterfaceID.NotFound" in str(failures[aws.key(REMOTE[0])])
    assert aws.leads_to(REMOTE[0]) == aws.us


@pytest.mark.parametrize("kind", [Kind.LOSE, Kind.FAIL_AFTER, Kind.THROTTLE, Kind.FAIL])
@pytest.mark.parametrize("operation", ["DescribeRouteTables", "ReplaceRoute"])
@pytest.mark.parametrize("skip", [0, 1])
async def test_whatever_happens_to_a_takeover_the_next_one_is_whole(
    shared: AwsFabric, aws: AwsWorld, kind: Kind, operation: str, skip: int
) -> None:
    await shared.instance()
    for prefix in REMOTE[:2]:
        aws.place(prefix, aws.other)
    changes = [aws.change(prefix, aws.other, aws.us) for prefix in REMOTE[:2]]
    aws.troubles.add(Trouble(kind=kind, operation=operation, skip=skip))
    aws.troubles.record.clear()
    assert await shared.routes.apply(changes), "a failed call is a failed change"
    assert {aws.leads_to(prefix) for prefix in REMOTE[:2]} <= {aws.us, aws.other}
    assert await shared.routes.apply(changes) == {}
    assert {aws.leads_to(prefix) for prefix in REMOTE[:2]} == {aws.us}
