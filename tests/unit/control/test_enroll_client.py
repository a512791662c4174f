"""What the leaf's client makes of whatever answers it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from aiohttp import web
from tests.support.vectors import LEAF_A, PROOFS
from tests.unit.admission.enrollment_world import QuickClock, claim, serving

from routerd.control.enroll_client import MAX_ERROR, ClaimRejected, EnrollClient, NotDecided, client_tls
from routerd.control.ports import API_VERSION, PREFIX, PresentedProof
from routerd.errors import ControlError, PermanentError, ProviderError, TransientError
from routerd.model.specs.enrollment import ClientTLSSpec
from routerd.spi import Proof

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


async def sent(submitting: Callable[[str], Awaitable[object]]) -> bytes:
    """Return the body of the one request that is made."""
    bodies: list[bytes] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        return web.json_response(RESULT)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with serving(app) as url:
        await submitting(url)
    (body,) = bodies
    return body


async def test_a_claim_of_the_dialect_is_sent_byte_for_byte_as_ever() -> None:
    """The bytes are those of routerd before it had other join methods."""
    _, _, proof, _ = PROOFS[0]
    signed = attrs.evolve(LEAF_A, join_hmac=proof)
    assert await sent(lambda url: client().submit(url, signed)) == (
        b'{"apiVersion": "control.routerd.net/v1alpha1", "kind": "SAMEnrollmentClaimSubmitRequest", '
        b'"claim": {"apiVersion": "mobility.routerd.net/v1alpha1", "kind": "SAMEnrollmentClaim", '
        b'"metadata": {"name": "leaf-a"}, "spec": {"policyRef": '
        b'"SAMEnrollmentPolicy/cloudedge-leaves", "rrSetRef": "SAMRRSet/cloudedge-rrs", "leafID": '
        b'"leaf-a", "joinAudience": "cloudedge-public-underlay", "joinNonce": "nonce-1", '
        b'"joinTimestamp": "2026-06-28T00:00:00Z", "joinHMAC": '
        b'"22916bc83388379036a8a7b7cfff485460c3f3890cf5da1169d1a915aeb75bd6", "tunnelAddress": '
        b'"10.255.0.31/32", "endpoint": "198.51.100.31", "mobility": {"ownedAddresses": '
        b'["10.77.60.31/32", "10.77.60.30/32"]}, "bgp": {"asn": 64577, "routerID": "10.255.0.31"}, '
        b'"wireGuard": {"publicKey": "LEAF_A_WIREGUARD_PUBLIC_KEY", "endpoint": '
        b'"198.51.100.31:51820", "allowedIPs": ["10.255.0.31/32", "10.20.0.31/32"], '
        b'"persistentKeepalive": 25}}}}'
    )


async def test_a_proof_travels_beside_the_claim_and_changes_nothing_in_it() -> None:
    plain = json.loads(await sent(lambda url: client().submit(url, MADE)))
    proof = PresentedProof(method="keys", challenge="abc", proof=Proof.of({"seal": ["x", 1]}))
    whole = json.loads(await sent(lambda url: client().submit(url, MADE, proof)))
    assert whole.pop("proof") == {"method": "keys", "challenge": "abc", "value": {"seal": ["x", 1]}}
    assert whole == plain
    assert "proof" not in plain
    bare = json.loads(
        await sent(lambda url: client().submit(url, MADE, PresentedProof(method="k", proof=Proof.of({}))))
    )
    assert bare["proof"] == {"method": "k", "value": {}}


class TestChallenge:
    async def ask(self, answer: Answer) -> str:
        async with serving(server(answer)) as url:
            return await client().challenge(url, MADE, "keys")

    async def test_it_is_what_the_reflector_issued(self) -> None:
        answer = {"method": "keys", "challenge": "bm9uY2U", "expiresAt": "2026-06-28T12:01:00Z"}
        assert await self.ask(lambda _: web.json_response(answer)) == "bm9uY2U"

    async def test_an_earlier_program_has_none_and_the_error_says_what_to_do(self) -> None:
        with pytest.raises(PermanentError, match="its program is an earlier one; use joinMethod: token"):
            await self.ask(lambda _: web.Response(status=404))

    async def test_a_policy_of_another_method_is_named(self) -> None:
        answer = {"method": "token", "challenge": "bm9uY2U"}
        with pytest.raises(
            ClaimRejected, match="asks for joinMethod token, and this leaf has keys"
        ) as refused:
            await self.ask(lambda _: web.json_response(answer))
        assert refused.value.reason == "join-method-mismatch"

    @pytest.mark.parametrize("challenge", [None, "", 7, "a b", "x" * 513, "\u00e9"])
    async def test_what_is_not_a_challenge_is_not_signed(self, challenge: object) -> None:
        with pytest.raises(PermanentError, match="unexpected answer to the question for a challenge"):
            await self.ask(lambda _: web.json_response({"method": "keys", "challenge": challenge}))


async def test_a_reflector_that_cannot_decide_says_why() -> None:
    error = {"error": {"message": "not decided: the join method", "reason": "join-method-failed"}}
    async with serving(server(lambda _: web.json_response(error, status=503))) as url:
        with pytest.raises(NotDecided, match="not decided") as failed:
            await client().submit(url, MADE)
    assert failed.value.reason == "join-method-failed"


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
        (lambda: web.Response(status=500), NotDecided, "500"),
        (lambda: web.Response(status=503), NotDecided, "503"),
        (lambda: web.Response(status=408), NotDecided, "408"),
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
