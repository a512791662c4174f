"""The two servers of the enrollment benchmark, and the claims that it submits."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
from aiohttp import web

from routerd.admission.desk import Desk
from routerd.control.access import AccessRules
from routerd.control.enrollment import enrollment_app, serve_enrollment
from routerd.control.ports import (
    API_VERSION,
    PREFIX,
    Accepted,
    AdmissionDesk,
    ChallengeAsked,
    IssuedChallenge,
    PresentedProof,
    Revoked,
    ServedTopology,
    Source,
)
from routerd.control.rate_limit import RateLimit
from routerd.model.claim import AdmittedClaim, Claim, ClaimWireGuard
from routerd.model.intent import Intent
from routerd.model.names import NodeName, PublicKey
from routerd.model.resource import Resource, ResourceId
from routerd.model.specs import (
    NodeSpec,
    SAMEnrollmentPolicySpec,
    SAMNodeSetSpec,
    SAMTransportProfileSpec,
    SecretSource,
)
from routerd.model.specs.claim_codec import claim_to_document
from routerd.model.specs.claim_text import digest
from routerd.plugins.join_methods import JoinMethods, MadeMethod
from routerd.process.clock import SystemClock
from routerd.process.log import Log
from routerd.spi import JSONValue
from routerd.store import UsedNonce, open_store
from routerd.store.records import Write
from routerd_enrollment_token import payload
from routerd_enrollment_token.enrollment import TokenEnrollment
from routerd_enrollment_token.plugin import routerd_enrollments

READY = "ready"
TOKEN = "token of the benchmark"
LIMIT = 10**9
ACCEPTED = Accepted(
    claim_ref="SAMEnrollmentClaim/leaf", observed_at=datetime(2026, 6, 28, tzinfo=UTC), expires_at=None
)


def claims(numbers: Iterable[int], mark: str = "") -> Iterator[Claim]:
    """Yield signed claims that differ in everything that must be unique."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for number in numbers:
        name = f"leaf-{mark}{number}"
        high, low = divmod(number, 250)
        made = Claim(
            name=name,
            policy_ref="SAMEnrollmentPolicy/p",
            rr_set_ref="SAMRRSet/rrs",
            leaf_id=name,
            join_audience="fabric",
            join_nonce=f"nonce-{name}",
            join_timestamp=stamp,
            tunnel_address=f"10.255.{high}.{low}/32",
            endpoint=f"10.20.{high}.{low}",
            owned_addresses=(f"10.77.{high}.{low}/32",),
            asn=64512,
            router_id=f"10.255.{high}.{low}",
            wireguard=ClaimWireGuard(
                public_key=_key(name), endpoint=f"198.51.100.1:{1024 + number}", persistent_keepalive=25
            ),
        )
        yield attrs.evolve(made, join_hmac=payload.proof(made, TOKEN))


def digest_of(claim: Claim) -> str:
    """Return the digest by which a leaf proves itself."""
    return digest(claim)


class wire:
    """Requests as they go over the wire."""

    @staticmethod
    def submit(claim: Claim, *, kept: bool) -> bytes:
        """Return a submission."""
        body = json.dumps(
            {
                "apiVersion": API_VERSION,
                "kind": "SAMEnrollmentClaimSubmitRequest",
                "claim": claim_to_document(claim),
            }
        ).encode()
        head = (
            f"POST {PREFIX}/sam-enrollment-claims HTTP/1.1\r\nHost: bench\r\n{_ending(kept=kept)}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    @staticmethod
    def fetch(claim: Claim, digest: str, *, kept: bool) -> bytes:
        """Return a request for the reflectors."""
        query = f"claim={claim.name}&claimDigest={digest}"
        line = f"GET {PREFIX}/sam-enrollment-topologies/rrs?{query} HTTP/1.1"
        return f"{line}\r\nHost: bench\r\n{_ending(kept=kept)}\r\n".encode()


def _ending(*, kept: bool) -> str:
    return "" if kept else "Connection: close\r\n"


async def _constant() -> int:
    answer = {
        "apiVersion": API_VERSION,
        "kind": "SAMEnrollmentClaimSubmitResult",
        "accepted": True,
        "claimRef": "SAMEnrollmentClaim/leaf",
        "observedAt": "2026-06-28T12:00:00Z",
    }

    async def submit(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post(f"{PREFIX}/sam-enrollment-claims", submit)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port: int = runner.addresses[0][1]
    return port


class _ConstantDesk:
    """Accepts everything, at once."""

    async def challenge(self, asked: ChallengeAsked, source: Source | None) -> IssuedChallenge:
        raise NotImplementedError(asked)

    async def submit(
        self, document: JSONValue, source: Source | None, proof: PresentedProof | None = None
    ) -> Accepted:
        return ACCEPTED

    async def topology(
        self, rr_set: str, claim_ref: str, *, digest: str, source: Source | None
    ) -> ServedTopology:
        return ServedTopology(rr_set={}, claim_digest="")

    async def revoke(self, name: str, reason: str, source: Source | None) -> Revoked:
        return Revoked(claim_ref=name, observed_at=ACCEPTED.observed_at, reason=reason)


async def _listen(desk: AdmissionDesk, log: Log) -> int:
    clock = SystemClock()
    limit = RateLimit(clock=clock, rate=LIMIT, burst=LIMIT, total_rate=LIMIT, total_burst=LIMIT)
    door = AccessRules(allow=(IPv4Network("127.0.0.0/8"),), limit=limit)
    app = enrollment_app(desk, door, clock=clock, log=log)
    listener = await serve_enrollment(app, address=IPv4Address("127.0.0.1"), port=0)
    port: int = listener.addresses[0][1]
    return port


async def _desk(place: Path, held: int) -> int:
    clock, log = SystemClock(), Log(stream=io.StringIO())
    store = open_store(place / "routerd.db", clock=clock)
    now = clock.now()
    writes: list[Write] = []
    for claim in claims(range(held)):
        end = now + timedelta(hours=24)
        writes.append(AdmittedClaim(claim=claim, admitted_at=now, expires_at=end, digest=digest(claim)))
        writes.append(UsedNonce(policy="p", nonce=claim.join_nonce, leaf_id=claim.leaf_id, fingerprint="f"))
    store.admission.commit(writes)
    # What was written at once is not to be checkpointed while others are timed.
    store.close()
    store = open_store(place / "routerd.db", clock=clock)
    intent = _intent()
    made = MadeMethod(
        plugin="enrollment_token", described=routerd_enrollments()[0], provider=TokenEnrollment()
    )
    methods = JoinMethods({"token": made}, log=log)
    await methods.lifecycles()["token"].start()
    desk = Desk(
        store=store,
        intent=lambda: intent,
        methods=methods,
        clock=clock,
        log=log,
        on_change=lambda _: None,
        secret=lambda _: TOKEN,
    )
    return await _listen(desk, log)


def _intent() -> Intent:
    resources: Sequence[tuple[str, str, object]] = (
        (
            "SAMEnrollmentPolicy",
            "p",
            SAMEnrollmentPolicySpec(
                transport_profile_ref="SAMTransportProfile/wg",
                rr_set_ref="SAMRRSet/rrs",
                rr_node_set_ref="SAMNodeSet/nodes",
                tunnel_address_prefixes=(IPv4Network("10.255.0.0/16"),),
                mobility_prefixes=(IPv4Network("10.77.0.0/16"),),
                join_token_from=SecretSource(env="TOKEN"),
                join_audience="fabric",
                ttl=timedelta(hours=24),
            ),
        ),
        (
            "SAMTransportProfile",
            "wg",
            SAMTransportProfileSpec(
                # Wide, so that no two of some thousand leaves have the same link.
                mode="ipip",
                inner_prefix=IPv4Network("0.0.0.0/1"),
                addressing_mode="pair-stable",
            ),
        ),
        (
            "SAMNodeSet",
            "nodes",
            SAMNodeSetSpec(
                nodes=(NodeSpec(node_ref="rr", route_reflector=True, sam_endpoint="203.0.113.1"),)
            ),
        ),
    )
    return Intent(
        node=NodeName("rr"),
        resources=[Resource(id=ResourceId("x", kind, name), spec=spec) for kind, name, spec in resources],
    )


def _key(name: str) -> PublicKey:
    return PublicKey(base64.b64encode(hashlib.sha256(name.encode()).digest()).decode())


async def _serve(kind: str, place: Path, held: int) -> None:
    match kind:
        case "constant":
            port = await _constant()
        case "listener":
            port = await _listen(_ConstantDesk(), Log(stream=io.StringIO()))
        case _:
            port = await _desk(place, held)
    sys.stdout.write(f"{READY} {port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
