"""A leaf's own commands: what it signs, and what a real route reflector says to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from tests.unit.admission import enrollment_world
from tests.unit.admission.enrollment_world import QuickClock, Reflector, serving
from tests.unit.cli.command_line import Done, routerd
from tests.unit.cli.leaf_world import EXAMPLES, KEY, WIREGUARD, leaf_config

from routerd import config
from routerd.control.ports import API_VERSION, PREFIX
from routerd_enrollment_token.enrollment import TokenEnrollment

OTHER_KEY = KEY.replace("A", "B")

VECTOR = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: leaf-a}
plugins: [enrollment_token]
spec:
  resources:
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClaim
      metadata: {name: leaf-a}
      spec:
        policyRef: " SAMEnrollmentPolicy/cloudedge-leaves "
        rrSetRef: SAMRRSet/cloudedge-rrs
        leafID: " leaf-a "
        joinAudience: cloudedge-public-underlay
        joinNonce: nonce-1
        joinTimestamp: "2026-06-28T00:00:00Z"
        tunnelAddress: 10.255.0.31/32
        endpoint: 198.51.100.31
        directMesh: %s
        mobility: {ownedAddresses: [10.77.60.31/32, 10.77.60.30/32]}
        bgp: {asn: 64577, routerID: 10.255.0.31}
        wireGuard:
          publicKey: LEAF_A_WIREGUARD_PUBLIC_KEY
          endpoint: 198.51.100.31:51820
          allowedIPs: [10.255.0.31/32, 10.20.0.31/32]
          persistentKeepalive: 25
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClaim
      metadata: {name: leaf-b}
      spec:
        policyRef: SAMEnrollmentPolicy/fou
        rrSetRef: SAMRRSet/fou
        leafID: leaf-b
        tunnelAddress: 10.255.0.32
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClient
      metadata: {name: a}
      spec:
        claimRef: SAMEnrollmentClaim/leaf-a
        bootstrapEndpoints: ["http://203.0.113.1:65432"]
        joinTokenFrom: {env: VECTOR_TOKEN}
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClient
      metadata: {name: b}
      spec:
        claimRef: SAMEnrollmentClaim/leaf-b
        bootstrapEndpoints: ["http://203.0.113.1:65432"]
"""
HMACS = {
    (
        "leaf-a",
        "false",
        "test-join-token",
    ): "22916bc83388379036a8a7b7cfff485460c3f3890cf5da1169d1a915aeb75bd6",
    ("leaf-a", "false", "secret"): "82078f927253b7303c2d258786713a3bdee98e6d875b38b03584e32938d43aff",
    ("leaf-a", "true", "test-join-token"): "0630d3fc1534880a234405e134c585618b6453e4e7b3ae968d2ca3d0a5495de0",
    ("leaf-a", "true", "secret"): "95a1647a906206d92fc999ec693014f43b9c57eccad991e2e4f41ea88a201dce",
    (
        "leaf-b",
        "false",
        "test-join-token",
    ): "29cdc30aa4cd15e99aa68752dcfe386508d56d5c1ad7f6f6b5d455ea76b090da",
}


class TestSign:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "leaf.yaml"
        path.write_text(VECTOR % "false")
        return path

    @pytest.mark.parametrize(("claim", "mesh", "token"), list(HMACS))
    def test_the_proof_is_that_of_existing_programs(
        self, file: Path, claim: str, mesh: str, token: str
    ) -> None:
        file.write_text(VECTOR % mesh)
        secret = file.with_name("token")
        secret.write_text(f"{token}\n")
        done = routerd("enroll", "sign", "--config", file, "--claim", claim, "--secret-file", secret)
        assert (done.status, done.out) == (0, HMACS[claim, mesh, token] + "\n")

    def test_the_payload_is_shown_below_the_proof(self, file: Path) -> None:
        done = routerd(
            *("enroll", "sign", "--config", file, "--claim", "SAMEnrollmentClaim/leaf-a"),
            *("--secret", "secret", "--show-payload"),
        )
        proof, _, payload = done.out.partition("\n")
        assert proof == HMACS["leaf-a", "false", "secret"]
        assert len(payload.removesuffix("\n")) == 499
        assert payload.startswith("policyRef=SAMEnrollmentPolicy/cloudedge-leaves\nrrSetRef=")
        assert done.err == "warning: --secret shows in the process list; --secret-file does not\n"

    def test_the_clients_token_is_the_default(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VECTOR_TOKEN", "test-join-token")
        done = routerd("enroll", "sign", "--config", file, "--claim", "leaf-a")
        assert done.out == HMACS["leaf-a", "false", "test-join-token"] + "\n"

    def test_the_document_has_proof_and_payload(self, file: Path) -> None:
        words = ("--claim", "leaf-a", "--secret", "secret", "--show-payload", "--json")
        document = json.loads(routerd("enroll", "sign", "--config", file, *words).out)
        assert document["kind"] == "ClaimSignature"
        assert document["joinHMAC"] == HMACS["leaf-a", "false", "secret"]
        assert len(document["payload"]) == 499

    def test_a_token_may_be_base64(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENCODED", "c2VjcmV0")
        words = ("enroll", "sign", "--config", file, "--claim", "leaf-a", "--secret-base64")
        done = routerd(*words, "--secret-env", "ENCODED")
        assert done.out == HMACS["leaf-a", "false", "secret"] + "\n"

    def test_what_a_reflector_would_miss_is_a_warning(self, file: Path) -> None:
        done = routerd("enroll", "sign", "--config", file, "--claim", "leaf-b", "--secret", "x")
        assert "warning: SAMEnrollmentClaim/leaf-b has no joinNonce: a route reflector refuses it" in done.err

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ((), "which claim? it has leaf-a, leaf-b; name it with --claim"),
            (("--claim", "leaf-c"), "no claim leaf-c; it has leaf-a, leaf-b"),
            (
                ("--claim", "leaf-b"),
                "no SAMEnrollmentClient has a joinTokenFrom for SAMEnrollmentClaim/leaf-b",
            ),
            (("--claim", "leaf-a"), "environment variable VECTOR_TOKEN: it is not set"),
            (("--claim", "leaf-a", "--secret", " "), "--secret: the secret is empty"),
            (("--claim", "leaf-a", "--secret-base64"), "--secret-base64 goes with"),
            (("--claim", "leaf-a", "--secret", "a", "--secret-env", "B"), "give one of --secret-file"),
        ],
    )
    def test_what_is_missing_is_named(self, file: Path, words: tuple[str, ...], said: str) -> None:
        done = routerd("enroll", "sign", "--config", file, *words)
        assert (done.status, done.out) == (2, "")
        assert said in done.err


@pytest.fixture
async def rr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reflector]:
    """A route reflector with the file of `examples/rr.yaml`, the real join method and a real desk."""
    monkeypatch.setattr(enrollment_world, "TestToken", TokenEnrollment)
    text = (EXAMPLES / "rr.yaml").read_text().replace("REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam", OTHER_KEY)
    intent = config.load_text(text, file="rr.yaml").intent
    made = Reflector(tmp_path / "rr.db", QuickClock(datetime.now(UTC)), intent=intent, bearer="bearer")
    async with made.up():
        yield made


class TestSubmit:
    @pytest.fixture
    def token(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("BEARER", "bearer")
        path = tmp_path / "join-token"
        path.write_text("token\n")
        return path

    async def leaf(self, rr: Reflector, tmp_path: Path, **changed: str) -> Path:
        file = tmp_path / "leaf.yaml"
        options = {
            **WIREGUARD,
            "bootstrap-endpoint": rr.url,
            "owned-address": "10.80.1.20",
            "control-api-token-env": "BEARER",
            **changed,
        }
        done = await asyncio.to_thread(leaf_config, "-o", str(file), "--force", **options)
        assert done.status == 0, done.err
        return file

    async def submit(self, *words: object) -> Done:
        return await asyncio.to_thread(routerd, "enroll", "submit", *words)

    async def test_a_generated_leaf_is_admitted(self, rr: Reflector, tmp_path: Path, token: Path) -> None:
        done = await self.submit(
            "--config", await self.leaf(rr, tmp_path, secret_file=str(token)), "--claim", "leaf1"
        )
        assert (done.status, done.err) == (0, "")
        assert done.out.startswith(f"{rr.url}: accepted until 20")

    async def test_a_claim_that_was_signed_elsewhere_is_admitted(
        self, rr: Reflector, tmp_path: Path, token: Path
    ) -> None:
        done = await self.submit("--config", await self.leaf(rr, tmp_path, secret="token"))
        assert (done.status, done.err) == (0, "")

    async def test_a_refusal_says_why_with_its_code(self, rr: Reflector, tmp_path: Path, token: Path) -> None:
        token.write_text("wrong")
        done = await self.submit("--config", await self.leaf(rr, tmp_path, secret_file=str(token)))
        assert (done.status, done.out) == (1, "")
        assert f"{rr.url}: refused: " in done.err
        assert "(reason: join-hmac-mismatch)" in done.err

    async def test_every_endpoint_answers_for_itself(
        self, rr: Reflector, tmp_path: Path, token: Path
    ) -> None:
        both = f"{rr.url},http://127.0.0.1:1"
        file = await self.leaf(rr, tmp_path, secret_file=str(token), **{"bootstrap-endpoint": both})
        done = await self.submit("--config", file)
        assert done.status == 1
        assert f"{rr.url}: accepted until" in done.out
        assert done.err == "http://127.0.0.1:1: no decision: Connect call failed ('127.0.0.1', 1)\n"

    async def test_the_document_has_the_answer_of_each_endpoint(
        self, rr: Reflector, tmp_path: Path, token: Path
    ) -> None:
        both = f"{rr.url},http://127.0.0.1:1"
        file = await self.leaf(rr, tmp_path, secret_file=str(token), **{"bootstrap-endpoint": both})
        done = await self.submit("--config", file, "--json")
        assert (done.status, done.err) == (1, "")
        first, second = json.loads(done.out)["items"]
        assert (first["target"], first["accepted"], second["accepted"]) == (rr.url, True, False)
        assert second["text"].startswith("no decision: ")

    async def test_one_endpoint_can_be_named_with_its_token(
        self, rr: Reflector, tmp_path: Path, token: Path
    ) -> None:
        elsewhere = {"bootstrap-endpoint": "http://127.0.0.1:1", "control-api-token-env": "NOWHERE"}
        file = await self.leaf(rr, tmp_path, secret_file=str(token), **elsewhere)
        bearer = tmp_path / "bearer"
        bearer.write_text("bearer")
        done = await self.submit("--config", file, "--rr-url", rr.url, "--rr-token-file", bearer)
        assert (done.status, done.err) == (0, "")

    async def test_a_claim_that_waits_says_so(self, tmp_path: Path, token: Path) -> None:
        async def wait(_: web.Request) -> web.Response:
            error = {"message": "claim leaf1: waits for approval", "reason": "approval-pending"}
            return web.json_response({"apiVersion": API_VERSION, "kind": "Error", "error": error}, status=400)

        app = web.Application()
        app.router.add_post(f"{PREFIX}/sam-enrollment-claims", wait)
        async with serving(app) as url:
            file = tmp_path / "leaf.yaml"
            await asyncio.to_thread(
                leaf_config, "-o", str(file), secret_file=str(token), bootstrap_endpoint=url
            )
            done = await self.submit("--config", file)
        assert done.status == 1
        assert done.err == f"{url}: waits for approval: claim leaf1: waits for approval\n"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--socket", "/x", "--rr-url", "http://x"), "give one of --socket and --rr-url"),
            (("--rr-url", "rr:1"), "--rr-url rr:1 is not an http or https URL"),
            (("--rr-token-file", "/x", "--rr-token-env", "X"), "give one of --rr-token-file"),
            (("--rr-client-cert-file", "/x"), "go together"),
        ],
    )
    def test_options_that_contradict_each_other_are_refused(self, words: tuple[str, ...], said: str) -> None:
        done = routerd("enroll", "submit", *words)
        assert done.status == 2
        assert said in done.err


class TestRevoke:
    async def test_a_claim_is_revoked_from_elsewhere(
        self, rr: Reflector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BEARER", "bearer")
        file = await TestSubmit().leaf(rr, tmp_path, secret="token")
        await TestSubmit().submit("--config", file)
        words = ("enroll", "revoke", "leaf1", "--reason", "lost", "--rr-url", rr.url)
        refused = await asyncio.to_thread(routerd, *words)
        assert refused.status == 1
        assert refused.err.startswith(f"routerd: {rr.url}: bearer token missing or wrong")
        done = await asyncio.to_thread(routerd, *words, "--rr-token-env", "BEARER")
        assert (done.status, done.out) == (0, f"leaf1: Revoked at {rr.url}\n")
        again = await TestSubmit().submit("--config", file)
        assert again.status == 1
        assert "(lost)" in again.err
        assert "(reason: claim-revoked)" in again.err

    async def test_a_claim_that_nobody_knows_is_named(
        self, rr: Reflector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BEARER", "bearer")
        words = ("enroll", "revoke", "nobody", "--rr-url", rr.url, "--rr-token-env", "BEARER")
        done = await asyncio.to_thread(routerd, *words)
        assert done.status == 1
        assert "nobody" in done.err
