"""A route reflector and leaves for the tests beside this file: real app, real client, real stores."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
from aiohttp import web

from routerd.admission.desk import Desk
from routerd.control.enrollment import AccessRules, enrollment_app, serve_enrollment
from routerd.control.ports import AdmissionDesk
from routerd.control.rate_limit import RateLimit
from routerd.errors import ProofMismatch
from routerd.leaf.enroller import Enroller
from routerd.model.claim import Claim, ClaimWireGuard
from routerd.model.intent import Intent, Named
from routerd.model.names import NodeName, PublicKey
from routerd.model.resource import Resource, ResourceId
from routerd.model.specs import (
    MemberSpec,
    NodeSpec,
    SAMEnrollmentClientSpec,
    SAMEnrollmentPolicySpec,
    SAMNodeSetSpec,
    SAMRRSetSpec,
    SAMTransportProfileSpec,
    SecretSource,
)
from routerd.model.specs.enrollment import RetryBackoffSpec
from routerd.model.specs.mobility import NodeWireGuardSpec
from routerd.plugins.join_methods import JoinMethods, MadeMethod
from routerd.spi import Enrollment, JoinMethod, Proof, Signing, Submission
from routerd.store import Store, open_store
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger

NOW = datetime(2026, 6, 28, 12, tzinfo=UTC)
TOKEN = SecretSource(env="JOIN_TOKEN")
LOOPBACK = (IPv4Network("127.0.0.0/8"),)


class QuickClock(FakeClock):
    """A fake clock on which sleeping takes no time for anybody but the clock."""

    def __init__(self, start: datetime = NOW) -> None:
        super().__init__(start)

    async def sleep(self, seconds: float) -> None:
        await self.advance(max(0.0, seconds))


class TestToken:
    """A join method for tests of the core: the proof is a digest of what is signed and the secret."""

    __test__ = False

    async def start(self) -> None:
        return

    async def aclose(self) -> None:
        return

    async def verify(self, submission: Submission) -> None:
        claim = submission.claim
        if claim.join_hmac not in [self.proof(claim, secret) for secret in submission.secrets]:
            raise ProofMismatch("join-hmac-mismatch", f"claim {claim.name}: wrong proof")

    async def sign(self, signing: Signing) -> Proof:
        return Proof(join_hmac=self.proof(signing.claim, signing.secret or ""))

    async def signer(self, signing: Signing) -> str:
        return hashlib.sha256((signing.secret or "").encode()).hexdigest()

    @staticmethod
    def proof(claim: Claim, secret: str) -> str:
        signed = attrs.evolve(claim, name="", join_hmac="", expires_at="", revoked=False)
        return hashlib.sha256(repr(signed).encode() + secret.encode()).hexdigest()


@attrs.define
class Odd:
    """A join method that accepts every claim, but raises or hangs for those of some leaves."""

    errors: dict[str, BaseException] = attrs.field(factory=dict)
    hangs: set[str] = attrs.field(factory=set)
    begun: asyncio.Event = attrs.field(factory=asyncio.Event)
    seen: list[Submission] = attrs.field(factory=list)

    async def start(self) -> None:
        return

    async def aclose(self) -> None:
        return

    async def verify(self, submission: Submission) -> None:
        self.seen.append(submission)
        await self._act(submission.claim.leaf_id)

    async def sign(self, signing: Signing) -> Proof:
        await self._act(signing.claim.leaf_id)
        return Proof.of({"odd": True})

    async def signer(self, signing: Signing) -> str:
        await self._act(signing.claim.leaf_id)
        return "odd"

    async def _act(self, leaf: str) -> None:
        if leaf in self.errors:
            raise self.errors[leaf]
        if leaf in self.hangs:
            self.begun.set()
            await asyncio.Event().wait()


def methods(
    provider: Enrollment | None = None,
    described: JoinMethod | None = None,
    *,
    options: Mapping[str, object] | None = None,
    log: RecordingLogger | None = None,
    deadline: float = 5.0,
) -> JoinMethods:
    """Return one join method, started: `token` by `TestToken` unless another is given."""
    described = described or JoinMethod(
        kind="token", create=lambda *_: TestToken(), binds_claim=True, shared_secret=True, sam_proof=True
    )
    made = MadeMethod(plugin="a_plugin", described=described, provider=provider or TestToken())
    found = JoinMethods(
        {described.kind: made}, log=log or RecordingLogger(), options=options, deadline=deadline
    )
    for each in found._contained.values():
        each._ready.set()
    return found


def key(name: str) -> PublicKey:
    return PublicKey(base64.b64encode(hashlib.sha256(name.encode()).digest()).decode())


def policy(**changed: object) -> SAMEnrollmentPolicySpec:
    made = SAMEnrollmentPolicySpec(
        transport_profile_ref="SAMTransportProfile/wg",
        rr_set_ref="SAMRRSet/rrs",
        rr_node_set_ref="SAMNodeSet/nodes",
        tunnel_address_prefixes=(IPv4Network("10.255.0.0/24"),),
        mobility_prefixes=(IPv4Network("10.77.0.0/16"),),
        join_token_from=TOKEN,
        join_audience="fabric",
        ttl=timedelta(hours=24),
    )
    return attrs.evolve(made, **changed)  # type: ignore[arg-type]  # by the caller


def intent(spec: SAMEnrollmentPolicySpec | None = None) -> Intent:
    resources = {
        ("SAMEnrollmentPolicy", "p"): spec or policy(),
        ("SAMTransportProfile", "wg"): SAMTransportProfileSpec(
            mode="ipip", inner_prefix=IPv4Network("10.240.0.0/16"), addressing_mode="pair-stable"
        ),
        ("SAMNodeSet", "nodes"): SAMNodeSetSpec(
            nodes=(
                NodeSpec(
                    node_ref="rr-a",
                    route_reflector=True,
                    sam_endpoint="203.0.113.147",
                    wire_guard=NodeWireGuardSpec(
                        public_key=key("rr-a"),
                        endpoint="203.0.113.147:51820",
                        transport_endpoint=IPv4Address("10.20.0.1"),
                        allowed_ips=(IPv4Network("10.20.0.1/32"),),
                    ),
                ),
                NodeSpec(node_ref="other", sam_endpoint="203.0.113.148"),
            )
        ),
        ("SAMRRSet", "static"): SAMRRSetSpec(
            enrollment_policy_ref="SAMEnrollmentPolicy/p",
            members=(
                MemberSpec(
                    node_ref="rr-s",
                    endpoint=IPv4Address("203.0.113.9"),
                    tunnel_address=IPv4Network("10.255.0.1/32"),
                ),
            ),
        ),
    }
    return Intent(
        node=NodeName("rr-a"),
        resources=[Resource(id=ResourceId("x", *name), spec=found) for name, found in resources.items()],
    )


def claim(leaf: str = "leaf-a", number: int = 31, **changed: object) -> Claim:
    made = Claim(
        name=leaf,
        policy_ref="SAMEnrollmentPolicy/p",
        rr_set_ref="SAMRRSet/rrs",
        leaf_id=leaf,
        join_audience="fabric",
        tunnel_address=f"10.255.0.{number}/32",
        endpoint=f"198.51.100.{number}",
        owned_addresses=(f"10.77.60.{number}/32",),
        router_id=f"10.255.0.{number}",
        asn=64512,
        wireguard=ClaimWireGuard(public_key=key(leaf)),
    )
    return attrs.evolve(made, **changed)  # type: ignore[arg-type]  # by the caller


async def signed(made: Claim, *, minutes: int = 0, secret: str = "token") -> Claim:
    """Return the claim signed some minutes after `NOW`, with a nonce of its own where it has none."""
    stamp = (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    stamped = attrs.evolve(
        made,
        join_nonce=made.join_nonce or f"{made.name}-{minutes}",
        join_timestamp=made.join_timestamp or stamp,
    )
    return attrs.evolve(stamped, join_hmac=TestToken.proof(stamped, secret))


@attrs.define
class Reflector:
    """A route reflector on loopback; `up` makes it listen on its port, the same one each time."""

    path: Path
    clock: FakeClock
    intent: Intent = attrs.field(factory=intent)
    secret: str = "token"
    port: int = 0
    changes: int = 0
    bearer: str | None = None
    log: RecordingLogger = attrs.field(factory=RecordingLogger)
    limit: int = 1000
    methods: JoinMethods = attrs.field(factory=methods)
    _open: Desk | None = None

    @property
    def open(self) -> Desk:
        """Return the desk behind the listener."""
        assert self._open is not None
        return self._open

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def changed(self, _: object) -> None:
        self.changes += 1

    def desk(self, store: Store, *, secret: Callable[[SecretSource], str] | None = None) -> Desk:
        return Desk(
            store=store,
            intent=lambda: self.intent,
            methods=self.methods,
            clock=self.clock,
            log=self.log,
            on_change=self.changed,
            secret=secret or (lambda _: self.secret),
        )

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Store]:
        store = open_store(self.path, clock=self.clock)
        desk = self._open = self.desk(store)
        door = AccessRules(
            allow=LOOPBACK, limit=RateLimit(clock=self.clock, burst=self.limit), token=self.bearer
        )
        app = enrollment_app(desk, door, clock=self.clock, log=self.log)
        runner = await serve_enrollment(app, address=IPv4Address("127.0.0.1"), port=self.port)
        self.port = runner.addresses[0][1]
        try:
            yield store
        finally:
            await runner.cleanup()
            await desk.aclose()
            store.close()


@asynccontextmanager
async def listening(
    desk: AdmissionDesk, door: AccessRules, clock: FakeClock, log: RecordingLogger, *, slow: float = 10.0
) -> AsyncIterator[str]:
    app = enrollment_app(desk, door, clock=clock, log=log, slow=slow)
    runner = await serve_enrollment(app, address=IPv4Address("127.0.0.1"), port=0, slow=slow)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@attrs.define
class Leaf:
    """A leaf: what it was told, and what it told others."""

    store: Store
    clock: FakeClock
    log: RecordingLogger = attrs.field(factory=RecordingLogger)
    secret: str = "token"
    claims: list[Claim] = attrs.field(factory=list)
    methods: JoinMethods = attrs.field(factory=methods)
    changes: int = 0

    def changed(self) -> None:
        self.changes += 1

    def enroller(
        self,
        *endpoints: str,
        of: Claim | None = None,
        signs: bool = True,
        nonce: Callable[[], str] | None = None,
        **changed: object,
    ) -> Enroller:
        spec = SAMEnrollmentClientSpec(
            claim_ref="SAMEnrollmentClaim/leaf-a",
            bootstrap_endpoints=endpoints,
            join_token_from=TOKEN if signs else None,
            retry_backoff=RetryBackoffSpec(min=timedelta(seconds=2), max=timedelta(seconds=60)),
        )
        spec = attrs.evolve(spec, **changed)  # type: ignore[arg-type]  # by the caller
        options = {"nonce": nonce} if nonce is not None else {}
        return Enroller(
            Named(name="c", ref="SAMEnrollmentClient/c", spec=spec),
            of or claim(),
            store=self.store,
            methods=self.methods,
            clock=self.clock,
            log=self.log,
            on_change=self.changed,
            on_claim=self.claims.append,
            secret=lambda _: self.secret,
            chance=lambda: 0.0,
            **options,
        )
