"""A listener on loopback with a desk that only remembers, for the tests of what stands before the desk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import aiohttp
import attrs

from routerd.control.access import AccessRules
from routerd.control.enrollment import enrollment_app, serve_enrollment
from routerd.control.listener import Gate, Listener
from routerd.control.ports import (
    API_VERSION,
    PREFIX,
    Accepted,
    ChallengeAsked,
    IssuedChallenge,
    PresentedProof,
    Revoked,
    ServedTopology,
    Source,
)
from routerd.control.rate_limit import RateLimit
from routerd.errors import RouterdError
from routerd.spi import JSONValue
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger

NOW = datetime(2026, 6, 28, 12, tzinfo=UTC)
CLAIMS = f"{PREFIX}/sam-enrollment-claims"
JSON = {"Content-Type": "application/json"}
ENVELOPE = {"apiVersion": API_VERSION, "kind": "SAMEnrollmentClaimSubmitRequest", "claim": {"x": 1}}


class FakeDesk:
    """Implements `AdmissionDesk`: keeps what it was asked, and raises what it was told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.error: RouterdError | None = None

    def _note(self, *what: object) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    async def challenge(self, asked: ChallengeAsked, source: Source | None) -> IssuedChallenge:
        self._note("challenge", asked, source)
        return IssuedChallenge(method="keys", challenge="bm9uY2U", expires_at=NOW)

    async def submit(
        self, document: JSONValue, source: Source | None, proof: PresentedProof | None = None
    ) -> Accepted:
        self._note("submit", document, source, *([proof] if proof is not None else []))
        return Accepted(
            claim_ref="SAMEnrollmentClaim/a", observed_at=NOW, expires_at=NOW + timedelta(seconds=1.5)
        )

    async def topology(
        self, rr_set: str, claim_ref: str, *, digest: str, source: Source | None
    ) -> ServedTopology:
        self._note("topology", rr_set, claim_ref, digest, source)
        return ServedTopology(rr_set={"kind": "SAMRRSet"}, claim_digest="sha256:00")

    async def revoke(self, name: str, reason: str, source: Source | None) -> Revoked:
        self._note("revoke", name, reason, source)
        return Revoked(claim_ref=f"SAMEnrollmentClaim/{name}", observed_at=NOW, reason=reason)


@attrs.define
class Served:
    """The listener, and a client of it."""

    desk: FakeDesk
    clock: FakeClock
    log: RecordingLogger
    listener: Listener
    session: aiohttp.ClientSession

    @property
    def port(self) -> int:
        port: int = self.listener.addresses[0][1]
        return port

    async def ask(
        self, method: str, path: str, **options: object
    ) -> tuple[int, dict[str, str], dict[str, object]]:
        """Send a request; return status, headers and the JSON, or the text."""
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, **options) as response:  # type: ignore[arg-type]  # by the caller
            text = await response.text()
            body = (
                json.loads(text) if text and response.content_type == "application/json" else {"text": text}
            )
            return response.status, dict(response.headers), body

    async def send(self, raw: bytes, *, source: str = "127.0.0.1") -> bytes:
        """Send bytes and then nothing; return what comes until the other end hangs up."""
        async with asyncio.timeout(10):
            reader, writer = await self.connect(source=source)
            writer.write(raw)
            try:
                return await reader.read()
            finally:
                writer.close()

    async def connect(
        self, *, source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection from an address of loopback."""
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))


@asynccontextmanager
async def served(
    clock: FakeClock, *, slow: float = 10.0, gate: Gate | None = None, **changed: object
) -> AsyncIterator[Served]:
    """Serve until the end of the block; `changed` are fields of the access."""
    fields: dict[str, object] = {
        "allow": (IPv4Network("127.0.0.0/8"),),
        "limit": RateLimit(clock=clock, burst=100),
    }
    door = AccessRules(**(fields | changed))  # type: ignore[arg-type]  # by the caller
    desk, log = FakeDesk(), RecordingLogger()
    listener = await serve_enrollment(
        enrollment_app(desk, door, clock=clock, log=log, slow=slow),
        address=IPv4Address("127.0.0.1"),
        port=0,
        slow=slow,
        connections=gate,
    )
    try:
        async with aiohttp.ClientSession() as session:
            yield Served(desk, clock, log, listener, session)
    finally:
        await listener.cleanup()
