"""Routes are written whole where that is better, only what is ours, and right after whatever went wrong."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from plugins.cloud_azure.tests.azure_world import (
    DEFAULT,
    DELETE,
    OTHER,
    POLL,
    READ,
    REMOTE,
    US,
    WRITE,
    WRITE_TABLE,
    RouteChange,
    create,
    delete,
    key,
    many,
    place,
    place_foreign,
    replace,
)

from routerd.errors import (
    NotOwnedError,
    PermanentError,
    ProviderError,
    StaleError,
    SupersededError,
    TransientError,
)
from routerd.model.change import Change
from routerd.model.fabric import Forwarding
from routerd.testing.context import CountingPacer, CountingPacing, make_context
from routerd_cloud_azure import client
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.faults import QuotaError
from routerd_cloud_azure.plugin import AzureFabric
from routerd_lab.clouds.azure import AzureSubscription
from routerd_lab.clouds.azure_access import Assignment
from routerd_lab.clouds.trouble import Kind, Lag, Trouble

pytestmark = pytest.mark.cloud

THIRD = "10.82.10.6"


@pytest.fixture
async def shared(cloud: AzureSubscription, tmp_path: Path) -> AsyncIterator[AzureFabric]:
    """A started fabric that shares its site with two other routers."""
    fabric = AzureFabric(make_context(tmp_path), AzureOptions())
    fabric.share(frozenset({OTHER, THIRD}))
    await fabric.start()
    yield fabric
    await fabric.aclose()


def before_call(fabric: AzureFabric, method: str, meanwhile: Callable[[], object]) -> None:
    """Let somebody else act once between our last read and a call of the API."""
    call: Callable[..., Awaitable[Any]] = getattr(fabric.account.api, method)
    left = [meanwhile]

    async def raced(*args: Any) -> Any:
        if left:
            left.pop()()
        return await call(*args)

    setattr(fabric.account.api, method, raced)


# --- how it is written ------------------------------------------------------------------------------


async def test_many_routes_are_one_write(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    changes = [create(cloud, prefix) for prefix in many(50)]
    await fabric.routes.observe()
    cloud.troubles.record.clear()
    assert await fabric.routes.apply(changes) == {}
    # Read, write, the operation that goes on and then has ended, and the result.
    assert cloud.troubles.calls == [READ, WRITE_TABLE, POLL, POLL, READ]
    assert len(await fabric.routes.observe()) == 50
    assert cloud.resource(f"{cloud.route_table}/routes/routerd-10-200-0-0-32")
    cloud.troubles.record.clear()
    assert await fabric.routes.apply(changes) == {}
    assert cloud.troubles.calls == [READ]
    assert await fabric.routes.apply([delete(cloud, prefix) for prefix in many(50)]) == {}
    assert set(cloud.routes()) == {DEFAULT}
    assert cloud.troubles.count(DELETE) == 0


async def test_one_route_is_written_by_itself(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    cloud.troubles.record.clear()
    assert await fabric.routes.apply([create(cloud, REMOTE[0])]) == {}
    assert cloud.routes()[REMOTE[0]] == IPv4Address(US)
    assert cloud.troubles.count(WRITE) == 1
    assert await fabric.routes.apply([delete(cloud, REMOTE[0])]) == {}
    assert cloud.troubles.count(DELETE) == 1
    assert cloud.troubles.count(WRITE_TABLE) == 0


async def test_a_write_of_the_table_keeps_what_we_do_not_know(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    table = cloud.resource(cloud.route_table)
    table["tags"] = {"owner": "somebody"}
    table["properties"] |= {"disableBgpRoutePropagation": True, "fieldOfTheFuture": {"nested": [1, None]}}
    for name, prefix in (("v6", "2001:db8::/32"), ("tag", "Storage.JapanEast"), ("v4", "10.90.0.0/16")):
        route = {"addressPrefix": prefix, "nextHopType": "Internet", "fieldOfTheFuture": name}
        cloud.put(f"{cloud.route_table}/routes/{name}", route)

    def held() -> dict[str, Any]:
        kept = {ref: copy.deepcopy(body) for ref, body in cloud.resources.items() if "routerd-10" not in ref}
        return {ref: body | {"etag": ""} for ref, body in kept.items()}

    before = held()
    assert await fabric.routes.apply([create(cloud, prefix) for prefix in REMOTE]) == {}
    assert cloud.troubles.count(WRITE_TABLE) == 1
    assert held() == before


async def test_without_the_permission_for_tables_routes_are_written_one_by_one(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    whole = cloud.access.assignments[0]
    cloud.access.assignments[:] = [attrs.evolve(whole, not_actions=(WRITE_TABLE,))]
    changes = [create(cloud, prefix) for prefix in REMOTE]
    assert await fabric.routes.apply(changes[:2]) == {}
    assert cloud.troubles.count(WRITE) == 2
    assert await fabric.routes.apply(changes) == {}
    assert await fabric.routes.apply([delete(cloud, prefix) for prefix in REMOTE]) == {}
    assert set(cloud.routes()) == {DEFAULT}
    assert cloud.troubles.count(WRITE_TABLE) == 1, "there is no use in asking again"
    assert [cloud.troubles.count(DELETE, status) for status in (202, 412)] == [3, 0]


@pytest.mark.parametrize("code", ["InvalidRequestFormat", "RouteLimitReached"])
async def test_a_table_that_is_refused_is_written_route_by_route(
    fabric: AzureFabric, cloud: AzureSubscription, code: str
) -> None:
    cloud.troubles.fail_next(WRITE_TABLE, status=400, code=code)
    cloud.troubles.fail_next(WRITE, status=400, code=code)
    failures = await fabric.routes.apply([create(cloud, prefix) for prefix in REMOTE])
    made = set(cloud.routes()) - {DEFAULT}
    assert set(failures) == {key(cloud, prefix) for prefix in REMOTE} - {key(cloud, each) for each in made}
    # Who says that a table is full is not asked again for the next one.
    assert len(made) == (3 if code == "InvalidRequestFormat" else 0)


# --- what is not ours -------------------------------------------------------------------------------


async def test_a_foreign_route_is_named_and_left_alone(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    place_foreign(cloud, REMOTE[2])
    failures = await fabric.routes.apply([create(cloud, prefix) for prefix in REMOTE])
    assert set(failures) == {key(cloud, REMOTE[2])}
    error = failures[key(cloud, REMOTE[2])]
    assert isinstance(error, NotOwnedError)
    assert "somebodys" in str(error)
    assert cloud.route_table in str(error)
    failures = await fabric.routes.apply([delete(cloud, prefix) for prefix in REMOTE])
    assert set(failures) == {key(cloud, REMOTE[2])}
    assert isinstance(failures[key(cloud, REMOTE[2])], SupersededError)
    assert set(cloud.routes()) == {DEFAULT, REMOTE[2]}


async def test_a_foreign_blackhole_is_called_one(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    cloud.add_route("dropped", REMOTE[0], "None")
    failures = await fabric.routes.apply([create(cloud, REMOTE[0])])
    assert isinstance(failures[key(cloud, REMOTE[0])], NotOwnedError)
    assert "blackhole" in str(failures[key(cloud, REMOTE[0])])
    assert "az network route-table route delete" in str(failures[key(cloud, REMOTE[0])])


async def test_a_foreign_route_under_our_name_is_left_alone(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    cloud.add_route("Routerd-10-81-10-20-32", IPv4Network("10.90.0.0/16"), "Internet")
    assert await fabric.routes.apply([create(cloud, prefix) for prefix in REMOTE[:2]]) == {}
    assert cloud.routes()[IPv4Network("10.90.0.0/16")] is None
    assert cloud.resource(f"{cloud.route_table}/routes/routerd-10-81-10-20-32-2")
    assert await fabric.routes.apply([delete(cloud, prefix) for prefix in REMOTE[:2]]) == {}
    assert set(cloud.routes()) == {DEFAULT, IPv4Network("10.90.0.0/16")}


@pytest.mark.parametrize(("count", "method"), [(1, "put_route"), (2, "write_table")])
async def test_a_route_made_by_somebody_else_in_between_is_recognised(
    fabric: AzureFabric, cloud: AzureSubscription, count: int, method: str
) -> None:
    before_call(fabric, method, lambda: place_foreign(cloud, REMOTE[0]))
    failures = await fabric.routes.apply([create(cloud, prefix) for prefix in REMOTE[:count]])
    assert set(failures) == {key(cloud, REMOTE[0])}
    assert isinstance(failures[key(cloud, REMOTE[0])], NotOwnedError)
    assert cloud.routes()[REMOTE[0]] is None
    assert len(cloud.routes()) == 1 + count


async def test_a_route_that_changed_before_its_deletion_stays(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    await fabric.routes.apply([create(cloud, REMOTE[0])])
    (stale,) = (await fabric.account.api.route_table(cloud.route_table)).routes
    cloud.add_route(stale.name, REMOTE[0], "Internet")
    with pytest.raises(StaleError, match="changed since it was read"):
        await fabric.account.api.delete_route(cloud.route_table, stale.name, stale.etag)
    failures = await fabric.routes.apply([delete(cloud, REMOTE[0])])
    assert isinstance(failures[key(cloud, REMOTE[0])], SupersededError)
    assert cloud.routes()[REMOTE[0]] is None


async def test_a_table_that_changes_under_every_write_is_given_up(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    cloud.troubles.fail_next(WRITE_TABLE, status=412, code="PreconditionFailed", times=20)
    failures = await fabric.routes.apply([create(cloud, prefix) for prefix in REMOTE])
    assert {type(error) for error in failures.values()} == {StaleError}
    assert cloud.troubles.count(WRITE_TABLE) == 4


async def test_a_table_of_another_subscription_is_named(cloud: AzureSubscription, tmp_path: Path) -> None:
    elsewhere = cloud.route_table.replace(cloud.subscription, "00000000-0000-0000-0000-000000000001")
    fabric = AzureFabric(make_context(tmp_path), AzureOptions(route_tables=(elsewhere,)))
    await fabric.start()
    with pytest.raises(PermanentError, match="belongs to another subscription"):
        await fabric.routes.observe()
    await fabric.aclose()


# --- several routers of one site ---------------------------------------------------------------------


async def test_who_is_quicker_takes_a_route_over(shared: AzureFabric, cloud: AzureSubscription) -> None:
    place(cloud, REMOTE[0], OTHER)
    place(cloud, REMOTE[1], OTHER)
    await shared.routes.observe()
    before_call(shared, "write_table", lambda: place(cloud, REMOTE[0], THIRD))
    takeover = [replace(cloud, prefix, OTHER, US) for prefix in REMOTE[:2]]
    failures = await shared.routes.apply(takeover)
    assert set(failures) == {key(cloud, REMOTE[0])}
    assert isinstance(failures[key(cloud, REMOTE[0])], TransientError)
    assert f"leads to {THIRD}, another router of the site" in str(failures[key(cloud, REMOTE[0])])
    assert cloud.routes()[REMOTE[0]] == IPv4Address(THIRD)
    assert cloud.routes()[REMOTE[1]] == IPv4Address(US)


async def test_a_takeover_of_one_route_is_conditional_too(
    shared: AzureFabric, cloud: AzureSubscription
) -> None:
    cloud.add_route("Made-By-Hand", REMOTE[0], "VirtualAppliance", IPv4Address(OTHER))
    await shared.routes.observe()
    before_call(shared, "put_route", lambda: place_foreign(cloud, REMOTE[1]))
    assert await shared.routes.apply([replace(cloud, REMOTE[0], OTHER, US)]) == {}
    assert cloud.troubles.count(WRITE, 412) == 1
    assert cloud.troubles.count(WRITE, 200) == 1
    # It keeps its name: Azure would refuse a second route to the prefix.
    assert cloud.resource(f"{cloud.route_table}/routes/Made-By-Hand")
    assert cloud.routes()[REMOTE[0]] == IPv4Address(US)


async def test_two_routers_do_not_make_one_route_at_once(
    shared: AzureFabric, cloud: AzureSubscription
) -> None:
    before_call(shared, "write_table", lambda: place(cloud, REMOTE[0], OTHER))
    failures = await shared.routes.apply([create(cloud, REMOTE[0])])
    assert isinstance(failures[key(cloud, REMOTE[0])], TransientError)
    assert cloud.routes()[REMOTE[0]] == IPv4Address(OTHER)


async def test_who_is_no_address_is_named_before_anything_is_done(
    cloud: AzureSubscription, tmp_path: Path
) -> None:
    fabric = AzureFabric(make_context(tmp_path), AzureOptions())
    fabric.share(frozenset({OTHER, "leaf2", cloud.interface("azure-client")}))
    with pytest.raises(PermanentError, match="leaf2 is not an address; list the private addresses"):
        await fabric.start()
    assert cloud.troubles.calls == []


async def test_a_route_to_nobody_of_the_site_is_not_made(
    shared: AzureFabric, cloud: AzureSubscription
) -> None:
    failures = await shared.routes.apply([replace(cloud, REMOTE[0], US, "10.82.10.99")])
    assert isinstance(failures[key(cloud, REMOTE[0])], PermanentError)
    assert set(cloud.routes()) == {DEFAULT}


# --- quotas -----------------------------------------------------------------------------------------


async def test_the_limit_is_that_of_the_subscription(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    cloud.limits["RoutesPerRouteTable"] = 400
    await fabric.routes.observe()
    assert fabric.account.limit.known.routes == 400
    await fabric.routes.observe()
    assert cloud.troubles.count("Microsoft.Network/locations/usages/read") == 2, "two pages, once"


async def test_who_may_not_ask_goes_by_the_default(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    group = f"/subscriptions/{cloud.subscription}/resourceGroups/{cloud.group}"
    cloud.access.assignments[:] = [Assignment(scope=group, actions=("*",))]
    await fabric.routes.observe()
    assert fabric.account.limit.known.routes == 1000
    assert "locations/usages/read" in fabric.account.limit.known.source


async def test_a_full_table_is_not_written(cloud: AzureSubscription, tmp_path: Path) -> None:
    fabric = AzureFabric(make_context(tmp_path), AzureOptions(routes_per_route_table=2))
    await fabric.start()
    changes = [create(cloud, prefix) for prefix in REMOTE]
    failures = await fabric.routes.apply(changes)
    assert set(failures) == {key(cloud, REMOTE[2])}
    error = failures[key(cloud, REMOTE[2])]
    assert isinstance(error, QuotaError)
    assert "2 of 2 routes are in use (set by routesPerRouteTable)" in str(error)
    await fabric.routes.observe()
    assert str(fabric.routes.foresee(changes)[key(cloud, REMOTE[2])]) == str(error)
    cloud.troubles.record.clear()
    swap = [delete(cloud, REMOTE[0]), create(cloud, REMOTE[2])]
    assert fabric.routes.foresee(swap) == {}
    assert await fabric.routes.apply(swap) == {}
    assert set(cloud.routes()) == {DEFAULT, REMOTE[1], REMOTE[2]}
    await fabric.aclose()


async def test_a_limit_that_only_the_api_knows_is_reported(cloud: AzureSubscription, tmp_path: Path) -> None:
    cloud.limits["RoutesPerRouteTable"] = 2
    fabric = AzureFabric(make_context(tmp_path), AzureOptions(routes_per_route_table=1000))
    await fabric.start()
    failures = await fabric.routes.apply([create(cloud, prefix) for prefix in many(10)])
    assert len(failures) == 8
    assert all(isinstance(error, QuotaError) for error in failures.values())
    assert "more than 2 routes" in str(next(iter(failures.values())))
    assert len(cloud.routes()) == 1 + 2
    assert cloud.troubles.count(WRITE) == 3, "who says that it is full is not asked again"
    await fabric.aclose()


# --- trouble ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "AuthorizationFailed", PermanentError, f"permission {WRITE} is missing"),
        (401, "ExpiredAuthenticationToken", TransientError, "credentials are not accepted"),
        (429, "TooManyRequests", TransientError, "throttled"),
        (409, "AnotherOperationInProgress", TransientError, "being changed"),
        (429, "RetryableError", TransientError, "being changed"),
        (400, "RouteLimitReached", PermanentError, "Routes per Route Table"),
        (400, "InvalidRequestFormat", PermanentError, "refused"),
        (500, "InternalServerError", TransientError, "service failed"),
        (503, "ServiceUnavailable", TransientError, "service failed"),
    ],
)
async def test_each_refusal_of_the_api_has_its_meaning(
    fabric: AzureFabric,
    cloud: AzureSubscription,
    count: int,
    status: int,
    code: str,
    kind: type[ProviderError],
    words: str,
) -> None:
    for operation in (WRITE, WRITE_TABLE):
        cloud.troubles.fail_next(operation, status=status, code=code, retry_after=7, times=4)
    changes = [create(cloud, prefix) for prefix in REMOTE[:count]]
    failures = await fabric.routes.apply(changes)
    assert set(failures) == {change.key for change in changes}
    for error in failures.values():
        assert isinstance(error, kind)
        assert words in str(error)
        assert cloud.route_table in str(error)
        if status == 429:
            assert error.retry_after == dt.timedelta(seconds=7)
    cloud.troubles.clear()
    assert await fabric.routes.apply(changes) == {}


@pytest.mark.parametrize(
    ("code", "told", "holds"),
    [("TooManyRequests", 7, [7.0]), ("TooManyRequests", None, [10.0]), ("RetryableError", 11, [])],
)
async def test_too_many_calls_hold_all_calls_back(
    cloud: AzureSubscription, tmp_path: Path, code: str, told: int | None, holds: list[float]
) -> None:
    """A table at which another write is at work answers 429 too; that holds no other call back."""
    context = make_context(tmp_path)
    fabric = AzureFabric(context, AzureOptions())
    await fabric.start()
    await fabric.routes.observe()
    cloud.troubles.fail_next(WRITE, status=429, code=code, retry_after=told)
    assert await fabric.routes.apply([create(cloud, REMOTE[0])]) != {}
    pacer = cast("CountingPacer", cast("CountingPacing", context.pacing).pacers[cloud.subscription])
    assert pacer.holds == holds
    assert pacer.taken == len(cloud.troubles.calls), "each request takes a token, polls too"
    await fabric.aclose()


async def test_a_call_that_is_held_back_for_long_is_given_up(
    cloud: AzureSubscription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not made, and says why; the loop asks again later."""
    monkeypatch.setattr(client, "_HELD_SECONDS", 0.1)
    context = make_context(tmp_path)
    fabric = AzureFabric(context, AzureOptions())
    await fabric.start()
    await fabric.routes.observe()
    pacer = cast("CountingPacer", cast("CountingPacing", context.pacing).pacers[cloud.subscription])

    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(pacer, "take", never)
    cloud.troubles.record.clear()
    failures = await fabric.routes.apply([create(cloud, prefix) for prefix in REMOTE])
    assert set(failures) == {key(cloud, prefix) for prefix in REMOTE}
    said = f"azure {cloud.subscription}: no call within 0 s, this subscription has had too many calls"
    assert all(str(error).startswith(said) for error in failures.values())
    assert all(isinstance(error, TransientError) for error in failures.values())
    assert cloud.troubles.calls == []
    await fabric.aclose()


async def test_one_throttled_route_keeps_the_next_from_being_asked_for(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    cloud.troubles.fail_next(WRITE_TABLE, status=400, code="InvalidRequestFormat")
    cloud.troubles.fail_next(WRITE, status=429, code="TooManyRequests", retry_after=7)
    failures = await fabric.routes.apply([create(cloud, prefix) for prefix in REMOTE])
    assert len(failures) == 3
    assert cloud.troubles.count(WRITE) == 1


async def test_a_table_at_which_another_write_is_at_work_is_tried_again(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    cloud.exclusive, cloud.polls = True, 10**9
    begun = await fabric.account.api.route_table(cloud.route_table)
    cloud.troubles.add(Trouble(kind=Kind.LOSE, operation=WRITE))
    failures = await fabric.routes.apply([create(cloud, REMOTE[0])])
    assert "no answer" in str(failures[key(cloud, REMOTE[0])])
    failures = await fabric.routes.apply([create(cloud, REMOTE[1])])
    error = failures[key(cloud, REMOTE[1])]
    assert isinstance(error, TransientError)
    assert "being changed" in str(error)
    assert error.retry_after == dt.timedelta(seconds=11)
    assert begun.etag != (await fabric.account.api.route_table(cloud.route_table)).etag


@pytest.mark.parametrize("count", [1, 3])
async def test_an_operation_that_fails_in_the_end_is_a_failure(
    fabric: AzureFabric, cloud: AzureSubscription, count: int
) -> None:
    cloud.failing.append(("InternalServerError", "An error occurred."))
    changes = [create(cloud, prefix) for prefix in REMOTE[:count]]
    failures = await fabric.routes.apply(changes)
    assert set(failures) == {change.key for change in changes}
    assert "InternalServerError" in str(failures[changes[0].key])
    assert await fabric.routes.apply(changes) == {}


async def test_stale_reads_end_in_the_right_state(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    """Eventual consistency: what a read does not show yet is neither made twice nor written over."""
    cloud.troubles.lag(Lag(reads=5, operation=READ))
    place_foreign(cloud, REMOTE[2])
    for wanted in (REMOTE, [], REMOTE[:1]):
        for _ in range(30):
            present = await fabric.routes.observe()
            missing = [create(cloud, each) for each in wanted if key(cloud, each) not in present]
            surplus = [delete(cloud, each.prefix) for each in present if each.prefix not in wanted]
            for change in (missing, surplus):
                failures = await fabric.routes.apply(change)
                assert all(
                    isinstance(error, TransientError) or failed.prefix == REMOTE[2]
                    for failed, error in failures.items()
                )
        held = {each: US for each in wanted if each != REMOTE[2]}
        assert {str(each): str(hop) for each, hop in cloud.routes().items()} == {
            "0.0.0.0/0": "None",
            str(REMOTE[2]): "None",
            **{str(each): hop for each, hop in held.items()},
        }


@pytest.mark.parametrize("kind", [Kind.FAIL, Kind.FAIL_AFTER, Kind.THROTTLE, Kind.CLOSE, Kind.LOSE])
async def test_whatever_call_goes_wrong_the_next_pass_heals(
    cloud: AzureSubscription, tmp_path: Path, kind: Kind
) -> None:
    place_foreign(cloud, REMOTE[2])
    nic = cloud.interface("azure-leaf")
    aim = {DEFAULT: None, REMOTE[2]: None} | dict.fromkeys(REMOTE[:2], IPv4Address(US))

    async def one_pass(fabric: AzureFabric, wanted: list[IPv4Network]) -> bool:
        try:
            await fabric.instance()
            observed = await fabric.forwarding.observe()
            on = Forwarding(enabled=True)
            switches = [Change(key=each, before=now, after=on) for each, now in observed.items() if now != on]
            failed = bool(await fabric.forwarding.apply(switches))
            present = await fabric.routes.observe()
            changes: list[RouteChange] = [create(cloud, e) for e in wanted if key(cloud, e) not in present]
            changes += [delete(cloud, each.prefix) for each in present if each.prefix not in wanted]
            return not await fabric.routes.apply(changes) and not failed
        except TransientError:
            return False

    for nth in range(1, 30):
        cloud.resource(nic)["properties"]["enableIPForwarding"] = False
        fabric = AzureFabric(make_context(tmp_path), AzureOptions())
        await fabric.start()
        cloud.troubles.add(Trouble(kind=kind, skip=nth - 1))
        first = await one_pass(fabric, REMOTE[:2])
        struck = not cloud.troubles.pending
        cloud.troubles.clear()
        assert first or struck
        assert await one_pass(fabric, REMOTE[:2])
        assert cloud.forwarding("azure-leaf")
        assert cloud.routes() == aim
        assert await one_pass(fabric, [])
        assert set(cloud.routes()) == {DEFAULT, REMOTE[2]}
        await fabric.aclose()
        if not struck:
            break
    else:
        pytest.fail("a pass makes more calls than were tried")
