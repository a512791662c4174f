"""What the admin socket answers about claims, and how its refusals arrive."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from tests.unit.control.admin_world import (
    MemoryView,
    claim_document,
    entry,
    request,
    request_text,
    serving_admin,
)

from routerd.control.admin import METRICS_TYPE
from routerd.errors import ConfigError, ControlError, EnrollmentRefused


@pytest.fixture
def view() -> MemoryView:
    return MemoryView(
        listed=[claim_document("leaf-a"), claim_document("leaf-b", "Pending"), claim_document("leaf-x")],
        entries=[entry(1), entry(2, "leaf-b", "pending"), entry(3)],
    )


async def test_claims_are_listed_and_shown_by_name(view: MemoryView, tmp_path: Path) -> None:
    async with serving_admin(view, tmp_path) as socket:
        assert (await request(socket, "GET", "/v1/claims"))["items"] == view.listed
        assert await request(socket, "GET", "/v1/claims/leaf-b") == view.listed[1]
        with pytest.raises(EnrollmentRefused, match="claim leaf-z: not known here") as refused:
            await request(socket, "GET", "/v1/claims/leaf-z")
    assert refused.value.reason == "claim-unknown"


async def test_a_change_that_waits_comes_with_the_claim_that_holds(tmp_path: Path) -> None:
    both = [claim_document("leaf-a"), claim_document("leaf-a", "Pending")]
    async with serving_admin(MemoryView(listed=both), tmp_path) as socket:
        assert await request(socket, "GET", "/v1/claims/leaf-a") == {**both[0], "waiting": both[1]}


@pytest.mark.parametrize("verb", ["approve", "reject", "revoke"])
async def test_a_decision_carries_its_reason(view: MemoryView, tmp_path: Path, verb: str) -> None:
    async with serving_admin(view, tmp_path) as socket:
        answer = await request(socket, "POST", f"/v1/claims/leaf-b/{verb}", body={"reason": "asked by phone"})
        await request(socket, "POST", f"/v1/claims/leaf-b/{verb}")
    assert answer["name"] == "leaf-b"
    assert view.decided == [("leaf-b", verb, "asked by phone"), ("leaf-b", verb, "")]


async def test_a_refused_decision_keeps_its_code(view: MemoryView, tmp_path: Path) -> None:
    async with serving_admin(view, tmp_path) as socket:
        with pytest.raises(EnrollmentRefused, match="is held by claim leaf-a") as refused:
            await request(socket, "POST", "/v1/claims/leaf-x/approve")
        with pytest.raises(EnrollmentRefused) as unknown:
            await request(socket, "POST", "/v1/claims/nobody/revoke")
    assert (refused.value.reason, unknown.value.reason) == ("leaf-id-taken", "claim-unknown")


async def test_only_three_verbs_are_served(view: MemoryView, tmp_path: Path) -> None:
    async with serving_admin(view, tmp_path) as socket:
        with pytest.raises(ControlError, match="of another version"):
            await request(socket, "POST", "/v1/claims/leaf-a/delete")
    assert view.decided == []


async def test_a_body_that_cannot_be_used_is_named(view: MemoryView, tmp_path: Path) -> None:
    async with (
        serving_admin(view, tmp_path) as socket,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as session,
    ):
        for body, words in ((b"{", "not JSON"), (b"[]", "JSON object"), (b'{"reason": 1}', "must be text")):
            async with session.post("http://routerd/v1/claims/leaf-a/revoke", data=body) as response:
                assert response.status == 400
                assert words in (await response.json())["error"]
    assert view.decided == []


async def test_the_log_is_cut_to_its_end_and_to_one_claim(view: MemoryView, tmp_path: Path) -> None:
    async with serving_admin(view, tmp_path) as socket:
        latest = await request(socket, "GET", "/v1/enrollment-log?limit=2")
        of_one = await request(socket, "GET", "/v1/enrollment-log?claim=leaf-a")
        for limit in ("0", "-1", "many", "10001"):
            with pytest.raises(ConfigError, match="limit must be from 1"):
                await request(socket, "GET", f"/v1/enrollment-log?limit={limit}")
    assert latest["items"] == view.entries[1:]
    assert of_one["items"] == [view.entries[0], view.entries[2]]


async def test_a_router_without_a_join_method_says_so(tmp_path: Path) -> None:
    async with serving_admin(MemoryView(admits=False), tmp_path) as socket:
        with pytest.raises(ControlError, match="this router admits no claims"):
            await request(socket, "GET", "/v1/claims")


async def test_metrics_come_as_text(view: MemoryView, tmp_path: Path) -> None:
    async with serving_admin(view, tmp_path) as socket:
        assert await request_text(socket, "/v1/metrics") == "# HELP routerd_ready x\n"
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as session,
            session.get("http://routerd/v1/metrics") as response,
        ):
            assert response.headers["Content-Type"] == METRICS_TYPE


async def test_an_answer_that_is_no_json_is_named(tmp_path: Path) -> None:
    async def nothing(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/v1/status", nothing)
    runner = web.AppRunner(app)
    await runner.setup()
    socket = tmp_path / "other.sock"
    await web.UnixSite(runner, str(socket)).start()
    with pytest.raises(ControlError, match="is not routerd"):
        await request(socket, "GET", "/v1/status")
    await runner.cleanup()
