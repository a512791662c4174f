"""Trouble on purpose: a call meets exactly the trouble that was asked for, and every call is counted.

The API here keeps one number: `GET /value` reads it, `PUT /value` sets it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ServerDisconnectedError, web
from aiohttp.test_utils import TestClient, TestServer

from routerd_lab.clouds.state import Failure
from routerd_lab.clouds.trouble import Call, Dialect, Kind, Lag, Trouble, Troubles

pytestmark = pytest.mark.cloud

Client = TestClient[Any, Any]  # Any: requests and applications of aiohttp


class Clock:
    """The time, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Api:
    """An API with one number."""

    def __init__(self) -> None:
        self.value = 0
        self.clock = Clock()
        dialect = Dialect(
            operation=lambda request, _: {"GET": "GetValue", "PUT": "PutValue"}[request.method],
            reads=lambda operation: operation == "GetValue",
            answer=_answer,
            throttled=Failure(status=429, code="TooManyRequests", retry_after=3),
            broken=Failure(status=500, code="InternalServerError"),
        )
        self.troubles = Troubles(dialect, clock=self.clock)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.troubles.middleware])
        app.router.add_get("/value", self._get)
        app.router.add_put("/value", self._put)
        return app

    async def _get(self, _: web.Request) -> web.Response:
        return web.json_response(self.value, headers={"etag": f"v{self.value}"})

    async def _put(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked < 0:
            raise web.HTTPBadRequest
        self.value = asked
        return web.json_response(self.value)


def _answer(failure: Failure) -> web.Response:
    headers = {} if failure.retry_after is None else {"retry-after": str(failure.retry_after)}
    return web.json_response({"code": failure.code}, status=failure.status, headers=headers)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def client(api: Api) -> AsyncIterator[Client]:
    async with TestClient(TestServer(api.app())) as client:
        yield client


async def put(client: Client, value: int) -> int:
    """Write a value; return the status, 0 if the connection was closed."""
    try:
        return int((await client.put("/value", json=value)).status)
    except ServerDisconnectedError:
        return 0


async def get(client: Client) -> int:
    return int(await (await client.get("/value")).json())


async def test_without_trouble_calls_are_only_counted(api: Api, client: Client) -> None:
    assert await put(client, 7) == 200
    assert await get(client) == 7
    assert api.troubles.calls == ["PutValue", "GetValue"]
    assert api.troubles.record == [
        Call(operation="PutValue", status=200),
        Call(operation="GetValue", status=200),
    ]


@pytest.mark.parametrize(
    ("kind", "answered", "done", "recorded"),
    [
        (Kind.THROTTLE, 429, False, 429),
        (Kind.FAIL, 500, False, 500),
        (Kind.FAIL_AFTER, 500, True, 200),
        (Kind.CLOSE, 0, False, 0),
        (Kind.LOSE, 0, True, 200),
        (Kind.SLOW, 200, True, 200),
    ],
)
async def test_each_kind_of_trouble_does_the_work_or_not(
    api: Api, client: Client, kind: Kind, answered: int, done: bool, recorded: int
) -> None:
    api.troubles.add(Trouble(kind=kind))
    assert await put(client, 7) == answered
    assert api.value == (7 if done else 0)
    assert api.troubles.record == [Call(operation="PutValue", status=recorded, trouble=kind)]
    assert await put(client, 8) == 200, "it was to happen once"
    assert api.troubles.pending == ()


async def test_a_throttled_answer_says_when_to_come_again(api: Api, client: Client) -> None:
    api.troubles.add(Trouble(kind=Kind.THROTTLE))
    assert (await client.get("/value")).headers["retry-after"] == "3"


async def test_a_trouble_may_have_words_of_its_own(api: Api, client: Client) -> None:
    api.troubles.add(Trouble(kind=Kind.FAIL_AFTER, failure=Failure(status=412, code="NoEtagMatch")))
    answer = await client.put("/value", json=7)
    assert (answer.status, await answer.json()) == (412, {"code": "NoEtagMatch"})


@pytest.mark.parametrize(
    ("skip", "every", "times", "struck"),
    [(0, 1, 1, [1]), (2, 1, 2, [3, 4]), (0, 3, None, [3, 6, 9]), (1, 2, 2, [3, 5]), (0, 1, 0, [])],
)
async def test_which_calls_are_struck(
    api: Api, client: Client, skip: int, every: int, times: int | None, struck: list[int]
) -> None:
    api.troubles.add(Trouble(kind=Kind.FAIL, skip=skip, every=every, times=times))
    statuses = [await put(client, nth) for nth in range(1, 10)]
    assert [nth for nth, status in enumerate(statuses, 1) if status == 500] == struck


async def test_trouble_of_one_operation_spares_the_others(api: Api, client: Client) -> None:
    api.troubles.add(Trouble(kind=Kind.FAIL, operation="PutValue"))
    assert await get(client) == 0
    assert await put(client, 7) == 500


async def test_troubles_happen_one_after_the_other(api: Api, client: Client) -> None:
    api.troubles.fail_next("PutValue", status=409, code="IncorrectState", times=2)
    api.troubles.fail_next("PutValue", status=429, code="TooManyRequests")
    assert [await put(client, 7) for _ in range(4)] == [409, 409, 429, 200]
    assert api.troubles.count("PutValue") == 4
    assert api.troubles.count("PutValue", 409) == 2


async def test_the_nth_call_from_now_fails(api: Api, client: Client) -> None:
    api.troubles.fail_call(2, status=503, code="ServiceUnavailable")
    assert [await put(client, 7) for _ in range(3)] == [200, 503, 200]


async def test_a_read_after_a_write_answers_what_was_there_before(api: Api, client: Client) -> None:
    api.troubles.lag(Lag(reads=2))
    assert await get(client) == 0
    assert await put(client, 7) == 200
    answer = await client.get("/value")
    assert (await answer.json(), answer.headers["etag"]) == (0, "v0")
    assert [await get(client) for _ in range(3)] == [0, 7, 7]
    assert [call.stale for call in api.troubles.record] == [False, False, True, True, False, False]


async def test_lag_lasts_for_its_seconds_from_the_first_write(api: Api, client: Client) -> None:
    api.troubles.lag(Lag(seconds=5))
    await get(client)
    for value in (1, 2):
        await put(client, value)
        assert await get(client) == 0
        api.clock.now += 3
    assert await get(client) == 2


async def test_what_had_no_effect_makes_no_lag(api: Api, client: Client) -> None:
    await get(client)
    api.troubles.lag(Lag(reads=9))
    api.troubles.add(Trouble(kind=Kind.CLOSE, operation="PutValue"))
    assert await put(client, 7) == 0
    assert await put(client, -1) == 400
    api.value = 3
    assert await get(client) == 3, "changed by nobody's call, so not delayed"


async def test_lag_of_a_write_whose_answer_was_lost(api: Api, client: Client) -> None:
    await get(client)
    api.troubles.lag(Lag(reads=1, operation="GetValue"))
    api.troubles.add(Trouble(kind=Kind.LOSE, operation="PutValue"))
    assert await put(client, 7) == 0
    assert [await get(client) for _ in range(2)] == [0, 7]


async def test_what_was_never_read_is_answered_as_it_is(api: Api, client: Client) -> None:
    api.troubles.lag(Lag(reads=9))
    await put(client, 7)
    assert await get(client) == 7


async def test_clear_ends_trouble_and_lag(api: Api, client: Client) -> None:
    await get(client)
    api.troubles.lag(Lag(reads=9))
    api.troubles.add(Trouble(kind=Kind.FAIL, skip=1, times=None))
    await put(client, 7)
    api.troubles.clear()
    assert (await put(client, 8), await get(client)) == (200, 8)
    assert api.troubles.count("PutValue") == 2


async def test_everything_can_be_said_over_http(api: Api, client: Client) -> None:
    told = {"kind": "fail", "operation": "PutValue", "failure": {"status": 412, "code": "NoEtagMatch"}}
    assert (await client.post("/-/trouble", json=told)).status == 204
    assert (await client.put("/-/lag", json={"reads": 1})).status == 204
    pending = await (await client.get("/-/trouble")).json()
    assert [each["operation"] for each in pending["pending"]] == ["PutValue"]
    assert [await put(client, 7), await get(client), await put(client, 8)] == [412, 0, 200]
    assert [await get(client) for _ in range(2)] == [0, 8]
    counted = await (await client.get("/-/calls")).json()
    assert counted["total"] == 5
    assert counted["operations"] == {"PutValue": 2, "GetValue": 3}
    assert counted["calls"][0] == {
        "operation": "PutValue",
        "status": 412,
        "trouble": "fail",
        "stale": False,
    }
    assert (await client.delete("/-/calls")).status == 204
    assert (await client.delete("/-/trouble")).status == 204
    assert (api.troubles.calls, api.troubles.pending) == ([], ())


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ('{"kind": "flood"}', "flood"),
        ('{"kind": "fail", "often": 3}', "often"),
        ('{"kind": "fail", "every": 0}', "every"),
        ("{", "Expecting"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_reason(
    api: Api, client: Client, told: str, said: str
) -> None:
    answer = await client.post("/-/trouble", data=told)
    assert answer.status == 400
    assert said in (await answer.json())["error"]
    assert api.troubles.pending == ()


async def test_an_unknown_control_is_not_passed_to_the_api(api: Api, client: Client) -> None:
    assert (await client.get("/-/weather")).status == 404
    assert api.troubles.record == []


async def test_slow_answers_come_after_the_work(api: Api, client: Client) -> None:
    api.troubles.add(Trouble(kind=Kind.SLOW, operation="PutValue", seconds=0.2, times=None))
    for value in (1, 2):
        assert await put(client, value) == 200
        assert api.value == value
