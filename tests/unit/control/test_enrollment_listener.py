"""Access to the listener, its answers, and the clients that it cuts off."""

from __future__ import annotations

import io
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import aiohttp
import pytest
from tests.unit.control.listener_world import CLAIMS, ENVELOPE, JSON, FakeDesk, Served, served

from routerd.control.access import AccessRules
from routerd.control.enrollment import MAX_BODY, enrollment_app, serve_enrollment, server_tls
from routerd.control.ports import API_VERSION, PREFIX, ChallengeAsked, PresentedProof
from routerd.control.rate_limit import RateLimit
from routerd.errors import (
    ControlError,
    EnrollmentRefused,
    JoinMethodFailed,
    RouterdError,
    StoreError,
    TransientError,
)
from routerd.model.specs.system import ControlTLSSpec
from routerd.spi import MAX_PROOF, Proof
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger

LOOPBACK = (IPv4Network("127.0.0.0/8"),)

Start = Callable[..., Awaitable[Served]]


@pytest.fixture
async def start(fake_clock: FakeClock) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def started(**changed: object) -> Served:
            return await stack.enter_async_context(served(fake_clock, **changed))  # type: ignore[arg-type]  # by the caller

        yield started


class TestShapes:
    async def test_a_submitted_claim(self, start: Start) -> None:
        listener = await start()
        status, _, body = await listener.ask("POST", CLAIMS, json=ENVELOPE)
        assert status == 200
        assert body == {
            "apiVersion": "control.routerd.net/v1alpha1",
            "kind": "SAMEnrollmentClaimSubmitResult",
            "accepted": True,
            "claimRef": "SAMEnrollmentClaim/a",
            "dynamicSource": "SAMEnrollmentClaim/a",
            "generation": 1,
            "observedAt": "2026-06-28T12:00:00Z",
            "expiresAt": "2026-06-28T12:00:01.500000Z",
        }
        assert listener.desk.asked == [("submit", {"x": 1}, IPv4Address("127.0.0.1"))]

    async def test_a_proof_beside_a_claim(self, start: Start) -> None:
        listener = await start()
        given = {"method": "keys", "challenge": "abc", "value": {"seal": "x"}}
        assert (await listener.ask("POST", CLAIMS, json=ENVELOPE | {"proof": given}))[0] == 200
        expected = PresentedProof(method="keys", challenge="abc", proof=Proof.of({"seal": "x"}))
        assert listener.desk.asked == [("submit", {"x": 1}, IPv4Address("127.0.0.1"), expected)]

    @pytest.mark.parametrize(
        ("proof", "words"),
        [
            ("x", "proof must be of type object"),
            ({"value": {}}, "method is missing"),
            ({"method": "keys"}, "value is missing"),
            ({"method": "", "value": {}}, "method does not match"),
            ({"method": 7, "value": {}}, "method must be of type string"),
            ({"method": "keys", "value": []}, "value must be of type object"),
            ({"method": "keys", "value": {}, "challenge": "a b"}, "challenge does not match"),
            ({"method": "keys", "value": {}, "extra": 1}, "unknown field 'extra'"),
        ],
    )
    async def test_a_proof_of_another_shape_is_refused(self, start: Start, proof: object, words: str) -> None:
        listener = await start()
        status, _, body = await listener.ask("POST", CLAIMS, json=ENVELOPE | {"proof": proof})
        assert (status, body["error"]["reason"]) == (400, "request-invalid")  # type: ignore[index]  # JSON
        assert words in body["error"]["message"]  # type: ignore[index]  # JSON
        assert listener.desk.asked == []

    async def test_a_proof_that_is_too_large_has_a_code_of_its_own(self, start: Start) -> None:
        listener = await start()
        room = MAX_PROOF - len('{"seal":""}')
        for size, expected in ((room, 200), (room + 1, 400)):
            proof = {"method": "keys", "value": {"seal": "x" * size}}
            status, _, body = await listener.ask("POST", CLAIMS, json=ENVELOPE | {"proof": proof})
            assert status == expected
        assert body["error"]["reason"] == "join-proof-too-large"  # type: ignore[index]  # JSON

    async def test_a_challenge(self, start: Start) -> None:
        listener = await start()
        question = {
            "apiVersion": API_VERSION,
            "kind": "SAMEnrollmentChallengeRequest",
            "policyRef": "SAMEnrollmentPolicy/p",
            "leafID": "leaf-a",
        }
        status, _, body = await listener.ask("POST", f"{PREFIX}/sam-enrollment-challenges", json=question)
        assert status == 200
        assert body == {
            "apiVersion": "control.routerd.net/v1alpha1",
            "kind": "SAMEnrollmentChallengeResult",
            "method": "keys",
            "challenge": "bm9uY2U",
            "expiresAt": "2026-06-28T12:00:00Z",
        }
        expected = ChallengeAsked(policy_ref="SAMEnrollmentPolicy/p", leaf_id="leaf-a")
        assert listener.desk.asked == [("challenge", expected, IPv4Address("127.0.0.1"))]
        del question["leafID"]
        assert (await listener.ask("POST", f"{PREFIX}/sam-enrollment-challenges", json=question))[0] == 400

    async def test_a_join_method_that_fails_has_a_status_a_code_and_a_sentence(self, start: Start) -> None:
        listener = await start()
        listener.desk.error = JoinMethodFailed("join method keys (plugin p): verify failed: secret things")
        status, _, body = await listener.ask("POST", CLAIMS, json=ENVELOPE)
        assert (status, body["error"]["reason"]) == (503, "join-method-failed")  # type: ignore[index]  # JSON
        message = str(body["error"]["message"])  # type: ignore[index]  # JSON
        assert message.startswith("not decided: the join method of the policy failed")
        assert "secret things" not in message
        assert "secret things" in listener.log.text()

    async def test_a_set_in_both_dialects(self, start: Start) -> None:
        listener = await start()
        _, _, old = await listener.ask("GET", f"{PREFIX}/sam-rrsets/rrs?claim=SAMEnrollmentClaim/a")
        _, _, new = await listener.ask(
            "GET", f"{PREFIX}/sam-enrollment-topologies/rrs?claim=a&claimDigest=sha256:11"
        )
        common = {"apiVersion": API_VERSION, "metadata": {"name": "rrs"}, "rrSet": {"kind": "SAMRRSet"}}
        assert old == {**common, "kind": "SAMRRSetGetResult"}
        assert new == {**common, "kind": "SAMEnrollmentTopologyGetResult", "claimDigest": "sha256:00"}
        assert listener.desk.asked == [
            ("topology", "rrs", "SAMEnrollmentClaim/a", "", IPv4Address("127.0.0.1")),
            ("topology", "rrs", "a", "sha256:11", IPv4Address("127.0.0.1")),
        ]

    async def test_a_revocation(self, start: Start) -> None:
        listener = await start(token="t")
        status, _, body = await listener.ask(
            "POST",
            f"{CLAIMS}/a/revoke",
            json={"name": "a", "reason": "lost"},
            headers={"Authorization": "Bearer t"},
        )
        assert status == 200
        assert body["kind"] == "SAMEnrollmentClaimRevokeResult"
        assert body["expiresAt"] == body["observedAt"] == "2026-06-28T12:00:00Z"
        assert listener.desk.asked == [("revoke", "a", "lost", IPv4Address("127.0.0.1"))]

    @pytest.mark.parametrize(
        ("error", "status", "words", "reason"),
        [
            (EnrollmentRefused("some-reason", "claim a: no"), 400, "claim a: no", "some-reason"),
            (StoreError("state file /x: full"), 500, "try again later", "internal"),
            (TransientError("plugin /x broke"), 500, "try again later", "internal"),
        ],
    )
    async def test_errors(
        self, start: Start, error: RouterdError, status: int, words: str, reason: str
    ) -> None:
        listener = await start()
        listener.desk.error = error
        got, _, body = await listener.ask("POST", CLAIMS, json=ENVELOPE)
        assert got == status
        assert (body["apiVersion"], body["kind"]) == (API_VERSION, "Error")
        assert words in body["error"]["message"]
        assert "/x" not in body["error"]["message"]
        assert body["error"]["reason"] == reason
        if status == 500:
            assert "/x" in listener.log.text()

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 404),
            ("GET", f"{PREFIX}/status", 404),
            ("POST", f"{PREFIX}/apply", 404),
            ("GET", CLAIMS, 405),
            ("DELETE", f"{PREFIX}/sam-rrsets/rrs", 405),
        ],
    )
    async def test_nothing_but_enrollment_is_here(
        self, start: Start, method: str, path: str, status: int
    ) -> None:
        listener = await start()
        got, _, body = await listener.ask(method, path)
        assert (got, body["kind"]) == (status, "Error")
        assert listener.desk.asked == []


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"kind": "SAMEnrollmentClaimSubmitRequest", "apiVersion": "x"}',
            b'{"kind": "Other", "apiVersion": "control.routerd.net/v1alpha1"}',
        ],
    )
    async def test_what_is_no_request_is_refused(self, start: Start, body: bytes) -> None:
        listener = await start()
        status, _, answer = await listener.ask("POST", CLAIMS, data=body, headers=JSON)
        assert (status, answer["error"]["reason"]) == (400, "request-invalid")
        assert listener.desk.asked == []

    async def test_a_body_of_more_than_a_mebibyte_is_refused(self, start: Start) -> None:
        listener = await start()
        status, _, answer = await listener.ask(
            "POST", CLAIMS, data=io.BytesIO(b" " * (MAX_BODY + 1)), headers=JSON
        )
        assert (status, answer["error"]["reason"]) == (413, "request-too-large")

    async def test_who_never_ends_the_headers_is_cut_off(self, start: Start) -> None:
        listener = await start(slow=0.2)
        assert await listener.send(b"POST / HTTP/1.1\r\nHost: x\r\nX-A: ") == b""

    async def test_who_never_ends_the_body_is_cut_off(self, start: Start) -> None:
        listener = await start(slow=0.2)
        head = f"POST {CLAIMS} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{"
        assert b" 408 " in await listener.send(head.encode())
        assert listener.desk.asked == []

    async def test_a_name_in_a_revocation_must_be_that_of_the_path(self, start: Start) -> None:
        listener = await start(client_certificates=True)
        status, _, answer = await listener.ask("POST", f"{CLAIMS}/a/revoke", json={"name": "b"})
        assert (status, answer["error"]["reason"]) == (400, "request-invalid")


class TestDoor:
    async def test_other_sources_are_turned_away_first(self, start: Start) -> None:
        listener = await start(allow=(IPv4Network("192.0.2.0/24"),), token="t")
        status, _, body = await listener.ask("POST", CLAIMS, json=ENVELOPE)
        assert (status, body) == (403, {"text": "127.0.0.1 is not in allowCIDRs of ControlAPI\n"})
        assert listener.desk.asked == []

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer wrong", "Basic t", "t", "Bearer t t", "Bearer é"]
    )
    async def test_without_the_token_nothing_is_said(self, start: Start, header: str | None) -> None:
        listener = await start(token="t")
        headers = {"Authorization": header} if header is not None else {}
        status, got, body = await listener.ask("POST", CLAIMS, json=ENVELOPE, headers=headers)
        assert status == 401
        assert got["WWW-Authenticate"] == 'Bearer realm="routerd-control-api"'
        assert body["error"]["reason"] == "bearer-token-required"
        assert listener.desk.asked == []

    async def test_with_the_token_it_is_answered(self, start: Start) -> None:
        listener = await start(token="t")
        status, _, _ = await listener.ask(
            "POST", CLAIMS, json=ENVELOPE, headers={"Authorization": "bearer t"}
        )
        assert status == 200

    async def test_guessing_is_limited(self, start: Start, fake_clock: FakeClock) -> None:
        listener = await start(token="t", limit=RateLimit(clock=fake_clock, rate=0.5, burst=2))
        statuses = [(await listener.ask("POST", CLAIMS, json=ENVELOPE))[0] for _ in range(3)]
        assert statuses == [401, 401, 429]
        _, headers, body = await listener.ask("POST", CLAIMS, json=ENVELOPE)
        assert (headers["Retry-After"], body["error"]["reason"]) == ("2", "rate-limited")
        await fake_clock.advance(2)
        assert (await listener.ask("POST", CLAIMS, json=ENVELOPE))[0] == 401

    async def test_who_is_not_known_cannot_revoke(self, start: Start) -> None:
        listener = await start()
        status, _, body = await listener.ask("POST", f"{CLAIMS}/a/revoke", json={"name": "a"})
        assert (status, body["error"]["reason"]) == (403, "revoke-not-authenticated")
        assert listener.desk.asked == []

    def test_families_do_not_mix(self, fake_clock: FakeClock) -> None:
        door = AccessRules(allow=(IPv6Network("::/1"), *LOOPBACK), limit=RateLimit(clock=fake_clock))
        assert door.source_allowed(IPv4Address("127.1.1.1"))
        assert not door.source_allowed(IPv4Address("10.0.0.1"))
        assert door.source_allowed(IPv6Address("::1"))
        assert not door.source_allowed(None)

    def test_the_token_is_not_shown(self, fake_clock: FakeClock) -> None:
        assert "hidden" not in repr(
            AccessRules(allow=(), limit=RateLimit(clock=fake_clock), token="hidden-token")
        )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


class TestTLS:
    async def test_a_client_without_a_certificate_is_turned_away(
        self, certificate: tuple[Path, Path], fake_clock: FakeClock
    ) -> None:
        cert, key = certificate
        tls = server_tls(ControlTLSSpec(cert_file=cert, key_file=key, client_ca_file=cert))
        desk = FakeDesk()
        door = AccessRules(allow=LOOPBACK, limit=RateLimit(clock=fake_clock), client_certificates=True)
        app = enrollment_app(desk, door, clock=fake_clock, log=RecordingLogger())
        runner = await serve_enrollment(app, address=IPv4Address("127.0.0.1"), port=0, tls=tls)
        url = f"https://127.0.0.1:{runner.addresses[0][1]}{CLAIMS}"
        try:
            trusting = ssl.create_default_context(cafile=str(cert))
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientError):
                    async with session.post(url, json=ENVELOPE, ssl=trusting):
                        pass
                trusting = ssl.create_default_context(cafile=str(cert))
                trusting.load_cert_chain(cert, key)
                async with session.post(url, json=ENVELOPE, ssl=trusting) as response:
                    assert response.status == 200
        finally:
            await runner.cleanup()
        assert len(desk.asked) == 1

    def test_a_file_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ControlError, match=r"no-cert\.pem"):
            server_tls(ControlTLSSpec(cert_file=tmp_path / "no-cert.pem", key_file=tmp_path / "no-key.pem"))


async def test_a_port_that_is_taken_is_named(start: Start, fake_clock: FakeClock) -> None:
    port = (await start()).port
    door = AccessRules(allow=LOOPBACK, limit=RateLimit(clock=fake_clock))
    app = enrollment_app(FakeDesk(), door, clock=fake_clock, log=RecordingLogger())
    with pytest.raises(ControlError, match=rf"127\.0\.0\.1:{port}.*listenAddress and port"):
        await serve_enrollment(app, address=IPv4Address("127.0.0.1"), port=port)
