"""What the leaf's client makes of whatever answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from tests.unit.admission.enrollment_world import QuickClock, claim, serving

from routerd.control.enroll_client import MAX_ERROR, ClaimRejected, EnrollClient, client_tls
from routerd.control.ports import API_VERSION, PREFIX
from routerd.errors import ControlError, PermanentError, ProviderError, TransientError
from routerd.model.specs.enrollment import ClientTLSSpec

MADE = claim()
RESULT = {
    "kind": "SAMEnrollmentClaimSubmitResult",
    "accepted": True,
    "observedAt": "2026-06-28T12:00:00Z",
    "expiresAt": "2026-06-28T13:00:00Z",
}
MEMBER = {"nodeRef": "rr", "endpoint": "203.0.113.1", "tunnelAddress": "10.255.0.1/32"}
TOPOLOGY = {
    "claimDigest": "sha256:1",
    "rrSet": {"kind": "SAMRRSet", "metadata": {"name": "rrs"}, "spec": {"members": [MEMBER]}},
}

Answer = Callable[[web.Request], web.StreamResponse]


def server(answer: Answer) -> web.Application:
    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    return app


def client(**options: object) -> EnrollClient:
    return EnrollClient(clock=QuickClock(), **options)  # type: ignore[arg-type]  # by the caller


async def test_the_life_of_a_claim_is_by_the_reflectors_clock() -> None:
    async with serving(server(lambda _: web.json_response(RESULT))) as url:
        assert (await client().submit(url, MADE)).life == timedelta(hours=1)


async def test_what_is_sent_is_the_protocols() -> None:
    seen: list[tuple[str, str, str | None]] = []
    bodies: list[object] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.path_qs, request.headers.get("Authorization")))
        bodies.append(await request.json())
        return web.json_response(RESULT)

    app = web.Application()
    app.router.add_post("/below/{path:.*}", handle)
    async with serving(app) as url:
        await client(token="t").submit(f"{url}/below/", MADE)
    assert seen == [("POST", f"/below{PREFIX}/sam-enrollment-claims", "Bearer t")]
    (body,) = bodies
    assert isinstance(body, dict)
    assert (body["apiVersion"], body["kind"]) == (API_VERSION, "SAMEnrollmentClaimSubmitRequest")
    assert body["claim"]["spec"]["leafID"] == "leaf-a"


@pytest.mark.parametrize("status", [404, 501])
async def test_an_older_server_is_asked_in_its_dialect(status: int) -> None:
    paths: list[str] = []

    def answer(request: web.Request) -> web.StreamResponse:
        paths.append(request.path_qs)
        newer = "sam-enrollment-topologies" in request.path
        return web.Response(status=status) if newer else web.json_response(TOPOLOGY)

    async with serving(server(answer)) as url:
        fetched = await client().fetch(url, "SAMRRSet/rrs", claim=MADE, digest="sha256:2")
    assert [each.node for each in fetched.reflectors] == ["rr"]
    assert paths == [
        f"{PREFIX}/sam-enrollment-topologies/rrs?claim=SAMEnrollmentClaim/leaf-a&claimDigest=sha256:2",
        f"{PREFIX}/sam-rrsets/rrs?claim=SAMEnrollmentClaim/leaf-a",
    ]


def _refused() -> web.Response:
    error = {"message": "no\nway", "reason": "leaf-id-taken"}
    return web.json_response({"kind": "Error", "error": error}, status=400)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (_refused, ClaimRejected, "no way"),
        (lambda: web.Response(status=400, text="plain words"), ClaimRejected, "plain words"),
        (lambda: web.json_response(["x"], status=400), ClaimRejected, "x"),
        (lambda: web.json_response({"error": "x"}, status=400), ClaimRejected, "error"),
        (lambda: web.Response(status=401), PermanentError, "401"),
        (lambda: web.Response(status=403, text="not in allowCIDRs"), PermanentError, "allowCIDRs"),
        (lambda: web.Response(status=500), TransientError, "500"),
        (lambda: web.Response(status=503), TransientError, "503"),
        (lambda: web.Response(status=408), TransientError, "408"),
        (lambda: web.Response(status=302, headers={"Location": "http://192.0.2.1"}), PermanentError, "302"),
        (lambda: web.Response(text="<html>"), PermanentError, "not JSON"),
        (lambda: web.Response(text="[1]"), PermanentError, "not a JSON object"),
        (lambda: web.Response(text="[" * 100_000), PermanentError, "not JSON"),
        (lambda: web.json_response({"kind": "Other"}), PermanentError, "Other"),
        (lambda: web.json_response({**RESULT, "accepted": False}), PermanentError, "unexpected answer"),
        (lambda: web.json_response({**RESULT, "expiresAt": "soon"}), PermanentError, "time"),
        (lambda: web.json_response({**RESULT, "observedAt": 7}), PermanentError, "time"),
        (lambda: web.json_response({**RESULT, "expiresAt": "2026-06-28T13:00:00"}), PermanentError, "zone"),
        (lambda: web.Response(status=400, body=b"x" * (MAX_ERROR + 1)), PermanentError, "larger than"),
    ],
)
async def test_every_answer_becomes_an_error_that_names_the_server(
    answer: Callable[[], web.Response], kind: type[ProviderError], words: str
) -> None:
    async with serving(server(lambda _: answer())) as url:
        with pytest.raises(ProviderError) as failed:
            await client().submit(url, MADE)
    assert type(failed.value) is kind
    assert str(failed.value).startswith(f"{url}: ")
    assert words in str(failed.value)
    assert "\n" not in str(failed.value)


async def test_a_refusal_carries_its_reason() -> None:
    async with serving(server(lambda _: _refused())) as url:
        with pytest.raises(ClaimRejected) as refused:
            await client().submit(url, MADE)
    assert refused.value.reason == "leaf-id-taken"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("soon", None), ("-1", None), ("9" * 30, None)])
async def test_a_servers_wish_to_wait_is_heard(header: str, seconds: int | None) -> None:
    async with serving(server(lambda _: web.Response(status=429, headers={"Retry-After": header}))) as url:
        with pytest.raises(TransientError) as failed:
            await client().submit(url, MADE)
    assert failed.value.retry_after == (timedelta(seconds=seconds) if seconds is not None else None)


@pytest.mark.parametrize("spec", [{}, {"members": []}, {"members": [{}]}, {"members": [7]}, {"nodes": "x"}])
async def test_a_set_that_is_none_is_refused(spec: object) -> None:
    document = {"rrSet": {"kind": "SAMRRSet", "spec": spec}}
    async with serving(server(lambda _: web.json_response(document))) as url:
        with pytest.raises(PermanentError, match="SAMRRSet/rrs is not valid"):
            await client().fetch(url, "rrs", claim=MADE, digest="")


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    never = asyncio.Event()

    async def handle(_: web.Request) -> web.StreamResponse:
        await never.wait()
        raise AssertionError

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    async with serving(app) as url:
        with pytest.raises(TransientError, match=f"{url}: no answer within 0.1 s"):
            await client(deadline=0.1).submit(url, MADE)
        never.set()


async def test_a_fetch_is_tried_again_and_a_submission_is_not(tmp_path: Path) -> None:
    clock = QuickClock()
    asked = EnrollClient(clock=clock)
    target = f"unix:{tmp_path / 'none.sock'}"
    with pytest.raises(TransientError, match=r"none\.sock"):
        await asked.submit(target, MADE)
    assert clock.monotonic() == 0
    with pytest.raises(TransientError, match=r"none\.sock"):
        await asked.fetch(target, "rrs", claim=MADE, digest="")
    assert clock.monotonic() == pytest.approx(9 * 0.3)


async def test_a_socket_is_asked_like_a_url(tmp_path: Path) -> None:
    path = tmp_path / "rr.sock"
    runner = web.AppRunner(server(lambda _: web.json_response(RESULT)), access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        assert (await client().submit(f"unix:{path}", MADE)).life == timedelta(hours=1)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("target", ["http://", "nonsense", "http://127.0.0.1:99999"])
async def test_what_is_no_url_is_refused(target: str) -> None:
    with pytest.raises(ProviderError) as failed:
        await client().submit(target, MADE)
    assert str(failed.value).startswith(target)


def test_tls_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no-ca\.pem"):
        client_tls(ClientTLSSpec(ca_file=tmp_path / "no-ca.pem"))
