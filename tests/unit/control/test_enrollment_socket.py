"""Enrollment by the admin socket: what root may do there, and that nothing but the file's mode guards it."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from tests.unit.admission.enrollment_world import NOW

from routerd.control.admin import admin_app, serve_admin
from routerd.control.enrollment import enrollment_for_root
from routerd.control.ports import API_VERSION, PREFIX, Accepted, Revoked, ServedTopology, Source
from routerd.errors import EnrollmentRefused
from routerd.model.report.status import Status
from routerd.spi import JSONValue
from routerd.testing.context import RecordingLogger

CLAIMS = f"{PREFIX}/sam-enrollment-claims"


class Desk:
    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def submit(self, document: JSONValue, source: Source | None, _proof: object = None) -> Accepted:
        self.asked.append(("submit", document, source))
        return Accepted(
            claim_ref="SAMEnrollmentClaim/a", observed_at=NOW, expires_at=NOW + timedelta(hours=1)
        )

    async def topology(
        self, rr_set: str, claim_ref: str, *, digest: str, source: Source | None
    ) -> ServedTopology:
        self.asked.append(("topology", rr_set, claim_ref, digest, source))
        raise EnrollmentRefused("claim-not-accepted", "no claim b holds here")

    async def revoke(self, name: str, reason: str, source: Source | None) -> Revoked:
        self.asked.append(("revoke", name, reason, source))
        return Revoked(claim_ref=f"SAMEnrollmentClaim/{name}", observed_at=NOW, reason=reason)


class View:
    """An `AdminView` that is asked nothing here but its status."""

    async def status(self) -> Status:
        return Status(phase="Ready", node="mine")


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[tuple[Path, Desk]]:
    desk = Desk()
    app = admin_app(View(), desk, {}, enrollment=enrollment_for_root(desk, log=RecordingLogger()))  # type: ignore[arg-type]  # see View
    runner = await serve_admin(app, tmp_path / "routerd.sock")
    try:
        yield tmp_path / "routerd.sock", desk
    finally:
        await runner.cleanup()


async def ask(path: Path, method: str, url: str, body: JSONValue = None) -> tuple[int, dict[str, object]]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.request(method, f"http://routerd{url}", json=body) as response,
    ):
        return response.status, json.loads(await response.text())


async def test_root_may_do_everything_there_and_has_no_source(socket: tuple[Path, Desk]) -> None:
    path, desk = socket
    envelope = {"apiVersion": API_VERSION, "kind": "SAMEnrollmentClaimSubmitRequest", "claim": {"x": 1}}
    status, body = await ask(path, "POST", CLAIMS, envelope)
    assert (status, body["claimRef"]) == (200, "SAMEnrollmentClaim/a")
    status, body = await ask(path, "POST", f"{CLAIMS}/a/revoke", {"name": "a", "reason": "lost"})
    assert (status, body["kind"]) == (200, "SAMEnrollmentClaimRevokeResult")
    status, body = await ask(path, "GET", f"{PREFIX}/sam-enrollment-topologies/rrs?claim=b&claimDigest=d")
    assert (status, body["kind"], body["error"]) == (
        400,
        "Error",
        {"message": "no claim b holds here", "reason": "claim-not-accepted"},
    )
    assert desk.asked == [
        ("submit", {"x": 1}, None),
        ("revoke", "a", "lost", None),
        ("topology", "rrs", "b", "d", None),
    ]


async def test_there_is_no_rate_on_the_socket(socket: tuple[Path, Desk]) -> None:
    path, desk = socket
    statuses = {(await ask(path, "POST", f"{CLAIMS}/a/revoke", {"name": "a"}))[0] for _ in range(150)}
    assert statuses == {200}
    assert len(desk.asked) == 150


async def test_administration_is_still_there_and_only_root_may_open_it(socket: tuple[Path, Desk]) -> None:
    path, _ = socket
    status, body = await ask(path, "GET", "/v1/status")
    assert (status, body["node"]) == (200, "mine")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
