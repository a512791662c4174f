"""A provider of each family, in memory; they pass the same contract suites as the real ones.

What a provider would leave in the world stays in a `FakeWorld`, so that a second provider on the
same world is a restart. Links are in the context's kernel.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

import attrs

from routerd.errors import EnrollmentRefused, NotOwnedError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.claim import Claim, Submission
from routerd.model.fabric import (
    FabricRoute,
    FabricRouteKey,
    Forwarding,
    InstanceFacts,
    Nic,
    NicRef,
    RouteTableRef,
)
from routerd.model.names import LinkName, PublicKey
from routerd.model.route import LearnedRoute, RouteSet
from routerd.model.session import Advertisement, ImportPolicy, Prefix, Session, SessionState, Speaker
from routerd.model.tunnel import (
    PeerKey,
    PeerState,
    Tunnel,
    TunnelState,
    WireGuardDevice,
    WireGuardPeer,
)
from routerd.spi import (
    Capability,
    EncryptingTransport,
    Enrollment,
    Fabric,
    Kernel,
    LinkSpec,
    NoOptions,
    PluginContext,
    Provider,
    Routing,
    Transport,
)
from routerd.testing.tables import FakeTable

K = TypeVar("K")
V = TypeVar("V")

OVERHEAD = {"ipip": 20, "fou": 28, "gre": 24, "wireguard": 60}

FACTS = InstanceFacts(
    provider="fake",
    instance="instance-1",
    nics=(Nic(ref=NicRef("nic-1"), address=IPv4Address("10.1.0.4"), subnet="subnet-1", primary=True),),
    next_hop="nic-1",
    route_tables=(RouteTableRef("table-1"),),
    networks=(IPv4Network("10.1.0.0/24"),),
)


class FabricRoutesTable(FakeTable[FabricRouteKey, FabricRoute]):
    """A cloud's routes, of which only those to `next_hop` are ours; refuses tables it does not know.

    `others` is how routes name those with whom this router shares its site. `join` makes the tables of
    two routers show one cloud.
    """

    def __init__(self, next_hop: str, tables: Sequence[RouteTableRef]) -> None:
        super().__init__()
        self.others: frozenset[str] = frozenset()
        self._next_hop = next_hop
        self._tables = frozenset(tables)
        self._same: list[FabricRoutesTable] = []

    def join(self, other: FabricRoutesTable) -> None:
        """Show from now on what another router's table changes, and the other way round."""
        self._same.append(other)
        other._same.append(self)  # of the same class

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return what leads to us, and what leads to who shares the site."""
        ours = await super().observe()
        theirs = {key: route for key, route in self.foreign.items() if route.next_hop in self.others}
        return {**ours, **theirs}

    def _make(self, change: Change[FabricRouteKey, FabricRoute]) -> None:
        if change.key.table not in self._tables:
            raise TransientError(f"route table {change.key.table} does not exist")
        present = self.foreign.get(change.key, self.content.get(change.key))
        if present is not None and present.next_hop in self.others:
            if change.after is None or change.before is None:
                raise NotOwnedError(f"{change.key} leads to {present.next_hop}, another router of the site")
            self.foreign.pop(change.key, None)
            self.content[change.key] = present
        super()._make(change)
        for table in self._same:
            table.settle(change.key, change.after)

    def settle(self, key: FabricRouteKey, route: FabricRoute | None) -> None:
        """Show a route as what it is by where it leads."""
        self.content.pop(key, None)
        self.foreign.pop(key, None)
        if route is not None:
            (self.content if route.next_hop == self._next_hop else self.foreign)[key] = route


class ForwardingTable(FakeTable[NicRef, Forwarding]):
    """The switches of a fixed set of NICs."""

    def _make(self, change: Change[NicRef, Forwarding]) -> None:
        if change.key not in self.content:
            raise TransientError(f"NIC {change.key} does not exist")
        super()._make(change)


@attrs.frozen(kw_only=True)
class FakeNeighbour:
    """A speaker as its OPEN names it, and what it announces besides the world's routes.

    Added in 1.0.
    """

    asn: int
    router_id: IPv4Address
    prefixes: frozenset[IPv4Network] = frozenset()

    def fault(self, session: Session) -> str:
        """Return in words why it may not have a session; empty when it may."""
        if self.asn != session.peer_asn:
            return f"expected AS {session.peer_asn} of {session.whose}, came AS {self.asn}"
        if session.peer_router_id not in (None, self.router_id):
            expected = f"router ID {session.peer_router_id} of {session.whose}"
            return f"expected {expected}, came {self.router_id}"
        return ""


class FakeWorld:
    """What the fakes leave behind: everything that survives a restart of the daemon.

    `announce` makes the neighbours announce a set of routes; `speak` makes one of them a speaker.

    Added in 1.0.
    """

    def __init__(self, facts: InstanceFacts = FACTS) -> None:
        self.facts = facts
        self.devices: dict[LinkName, WireGuardDevice] = {}
        self.peers: FakeTable[PeerKey, WireGuardPeer] = FakeTable()
        self.speakers: FakeTable[str, Speaker] = FakeTable()
        self.import_policies: FakeTable[IPv4Address, ImportPolicy] = FakeTable()
        self.sessions: FakeTable[IPv4Address, Session] = FakeTable()
        self.advertisements: FakeTable[Prefix, Advertisement] = FakeTable()
        self.forwarding = ForwardingTable({nic.ref: Forwarding(enabled=False) for nic in facts.nics})
        self.routes = FabricRoutesTable(facts.next_hop, facts.route_tables)
        self.learned = RouteSet(complete=True)
        self.speaking: dict[IPv4Address, FakeNeighbour] = {}
        self.listeners: set[asyncio.Event] = set()

    def speak(self, address: IPv4Address, neighbour: FakeNeighbour | None) -> None:
        """Let a speaker be at an address from now on, or none."""
        if neighbour is None:
            self.speaking.pop(address, None)
        else:
            self.speaking[address] = neighbour
        self.announce(self.learned)

    def announce(self, learned: RouteSet) -> None:
        """Replace what the neighbours announce; every `learned()` yields it."""
        self.learned = learned
        for listener in self.listeners:
            listener.set()


class TunnelTable:
    """Tunnels of one mode as links of the context's kernel."""

    def __init__(self, mode: str, kernel: Kernel, devices: dict[LinkName, WireGuardDevice]) -> None:
        self._mode = mode
        self._kernel = kernel
        self._devices = devices

    async def observe(self) -> Mapping[LinkName, Tunnel]:
        """Return our links of this mode as tunnels."""
        kind = "ipip" if self._mode == "fou" else self._mode
        found: dict[LinkName, Tunnel] = {}
        for link in (await self._kernel.links()).values():
            encapsulated = link.encapsulation is not None
            if link.owner is None or link.kind != kind or encapsulated != (self._mode == "fou"):
                continue
            found[link.name] = Tunnel(
                link=link.name, mode=self._mode, owner=link.owner, mtu=link.mtu, addresses=link.addresses,
                local=link.local, remote=link.remote, ttl=link.ttl, key=link.key,
                encapsulation=link.encapsulation, wireguard=self._devices.get(link.name),
            )  # fmt: skip
        return found

    async def apply(self, changes: Sequence[Change[LinkName, Tunnel]]) -> Mapping[LinkName, ProviderError]:
        """Make, remake and delete links."""
        failures: dict[LinkName, ProviderError] = {}
        for change in changes:
            try:
                await self._make(change)
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _make(self, change: Change[LinkName, Tunnel]) -> None:
        present = (await self.observe()).get(change.key)
        if change.after is not None and present == change.after:
            return
        if change.after is None or present is not None:
            await self._kernel.delete_link(change.key)
            self._devices.pop(change.key, None)
        if change.after is None:
            return
        tunnel = change.after
        await self._kernel.add_link(
            LinkSpec(
                name=tunnel.link, kind="ipip" if self._mode == "fou" else self._mode, owner=tunnel.owner,
                mtu=tunnel.mtu, addresses=tunnel.addresses, local=tunnel.local, remote=tunnel.remote,
                ttl=tunnel.ttl, key=tunnel.key, encapsulation=tunnel.encapsulation,
            )
        )  # fmt: skip
        if tunnel.wireguard is not None:
            self._devices[tunnel.link] = tunnel.wireguard


class FakeTransport:
    """Implements `spi.Transport` on the context's kernel.

    Added in 1.0.
    """

    def __init__(self, mode: str, world: FakeWorld, context: PluginContext) -> None:
        self._mode = mode
        self._world = world
        self._context = context
        self._tunnels = TunnelTable(mode, context.kernel, world.devices)

    async def start(self) -> None:
        """Get ready."""

    async def aclose(self) -> None:
        """Let go; the links stay."""

    @property
    def tunnels(self) -> TunnelTable:
        """Return the tunnels."""
        return self._tunnels

    def overhead(self, tunnel: Tunnel) -> int:
        """Return the bytes that the encapsulation adds."""
        return OVERHEAD.get(tunnel.mode, 20)

    async def states(self) -> Sequence[TunnelState]:
        """Return one state for each tunnel."""
        return [TunnelState(link=link, backend="fake", up=True) for link in await self._tunnels.observe()]


class FakeEncryptingTransport(FakeTransport):
    """Implements `spi.EncryptingTransport`; its keys are real in shape only.

    Added in 1.0.
    """

    @property
    def peers(self) -> FakeTable[PeerKey, WireGuardPeer]:
        """Return the peers; a peer of a device that is missing is refused."""
        return _Peers(self._world.peers, self._tunnels)

    async def peer_states(self) -> Sequence[PeerState]:
        """Return one state for each peer, none of which has shaken hands."""
        peers = self._world.peers.content
        return [
            PeerState(key=key, endpoint=peer.endpoint, last_handshake=0, rx_bytes=0, tx_bytes=0)
            for key, peer in peers.items()
        ]

    async def public_key(self, private_key_file: Path) -> PublicKey:
        """Return a key that depends on the path alone; the file is made as the real one would be."""
        if not private_key_file.exists():
            if self._context.read_only:
                raise TransientError(f"private key {private_key_file} does not exist yet")
            private_key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_key_file.touch(mode=0o600)
            private_key_file.write_text(base64.b64encode(bytes(32)).decode() + "\n")
        digest = hashlib.sha256(str(private_key_file).encode()).digest()
        return PublicKey(base64.b64encode(digest).decode())


class _Peers(FakeTable[PeerKey, WireGuardPeer]):
    """The world's peers, with the check that their device exists."""

    def __init__(self, stored: FakeTable[PeerKey, WireGuardPeer], tunnels: TunnelTable) -> None:
        super().__init__()
        self.content = stored.content
        self.writes = stored.writes
        self._tunnels = tunnels

    async def apply(
        self, changes: Sequence[Change[PeerKey, WireGuardPeer]]
    ) -> Mapping[PeerKey, ProviderError]:
        """Make the changes of peers whose device exists."""
        devices = await self._tunnels.observe()
        self.refusals = {
            change.key: TransientError(f"device {change.key.link} does not exist")
            for change in changes
            if change.key.link not in devices and change.after is not None
        }
        return await super().apply(changes)


class FakeRouting:
    """Implements `spi.Routing`; what is learned the test announces.

    A session comes up when a speaker that it expects is at its neighbour's address
    (`FakeWorld.speak`); no route of one that it does not expect is learned.

    Added in 1.0.
    """

    def __init__(self, world: FakeWorld) -> None:
        self._world = world
        self._closed = False
        self._wakers: set[asyncio.Event] = set()

    async def start(self) -> None:
        """Get ready."""

    async def aclose(self) -> None:
        """End the streams; the speaker stays."""
        self._closed = True
        for waker in self._wakers:
            waker.set()

    @property
    def speakers(self) -> FakeTable[str, Speaker]:
        """Return the speaker."""
        return self._world.speakers

    @property
    def import_policies(self) -> FakeTable[IPv4Address, ImportPolicy]:
        """Return the import policies."""
        return self._world.import_policies

    @property
    def sessions(self) -> FakeTable[IPv4Address, Session]:
        """Return the sessions."""
        return self._world.sessions

    @property
    def advertisements(self) -> FakeTable[Prefix, Advertisement]:
        """Return the advertisements."""
        return self._world.advertisements

    async def learned(self) -> AsyncIterator[RouteSet]:
        """Yield what is announced now, then each later announcement."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        self._world.listeners.add(waker)
        try:
            while not self._closed:
                yield self._learned()
                await waker.wait()
                waker.clear()
        finally:
            self._wakers.discard(waker)
            self._world.listeners.discard(waker)

    async def states(self) -> Sequence[SessionState]:
        """Return a state for each session: idle, unless the expected speaker is there."""
        return [self._state(address, session) for address, session in self._world.sessions.content.items()]

    def _state(self, address: IPv4Address, session: Session) -> SessionState:
        speaker = self._world.speaking.get(address)
        if speaker is None:
            return SessionState(neighbour=address, state="idle")
        fault = speaker.fault(session)
        return SessionState(
            neighbour=address,
            state="idle" if fault else "established",
            remote_asn=speaker.asn,
            remote_router_id=speaker.router_id,
            last_error=fault,
        )

    def _learned(self) -> RouteSet:
        """Return what is announced, without what a refused speaker says and policies keep out."""
        world = self._world
        sessions = world.sessions.content
        refused = {
            address
            for address, speaker in world.speaking.items()
            if address not in sessions or speaker.fault(sessions[address])
        }
        routes = [route for route in world.learned.routes if route.neighbour not in refused]
        for address, speaker in world.speaking.items():
            policy = world.import_policies.content.get(address, ImportPolicy())
            routes += [
                LearnedRoute(prefix=prefix, next_hop=address, neighbour=address)
                for prefix in sorted(speaker.prefixes & policy.hosts)
                if address not in refused and not policy.required_communities  # ours carry none
            ]
        up = {address for address in world.speaking if address not in refused}
        return attrs.evolve(world.learned, routes=tuple(routes), heard=world.learned.heard | up)


class FakeEnrollment:
    """Implements `spi.Enrollment`: an HMAC over the text of the claim.

    Added in 1.0.
    """

    async def start(self) -> None:
        """Get ready."""

    async def aclose(self) -> None:
        """Let go."""

    async def authenticate(self, submission: Submission) -> None:
        """Return when the proof is that of `sign`; raises `EnrollmentRefused` otherwise."""
        claim = submission.claim
        if not submission.secret:
            raise EnrollmentRefused("NoSecret", f"claim {claim.name}: no secret to check it with")
        if not hmac.compare_digest(claim.join_hmac, _proof(claim, submission.secret)):
            raise EnrollmentRefused("BadProof", f"claim {claim.name}: the proof does not match the claim")

    async def sign(self, claim: Claim, secret: str) -> Claim:
        """Return the claim with its proof."""
        return attrs.evolve(claim, join_hmac=_proof(claim, secret))

    def digest(self, claim: Claim) -> str:
        """Return the digest over everything in the claim."""
        text = _text(claim) + claim.join_hmac + str(claim.revoked) + claim.expires_at
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class FakeFabric:
    """Implements `spi.SharedFabric` on a world's facts.

    Added in 1.0.
    """

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    async def start(self) -> None:
        """Get ready."""

    async def aclose(self) -> None:
        """Let go."""

    def share(self, next_hops: frozenset[str]) -> None:
        """Be told who else is at the site."""
        self._world.routes.others = next_hops

    async def instance(self) -> InstanceFacts:
        """Return the world's facts."""
        return self._world.facts

    @property
    def forwarding(self) -> ForwardingTable:
        """Return the switches."""
        return self._world.forwarding

    @property
    def routes(self) -> FabricRoutesTable:
        """Return the routes."""
        return self._world.routes


def transport_provider(world: FakeWorld, mode: str = "ipip") -> Provider[Transport]:
    """Describe a fake transport of `mode`."""

    def create(context: PluginContext, options: object) -> Transport:
        _check(options)
        return FakeTransport(mode, world, context)

    return Provider(kind=mode, create=create)


def encrypting_provider(world: FakeWorld, mode: str = "wireguard") -> Provider[EncryptingTransport]:
    """Describe a fake transport with peers."""

    def create(context: PluginContext, options: object) -> EncryptingTransport:
        _check(options)
        return FakeEncryptingTransport(mode, world, context)

    return Provider(kind=mode, create=create, capabilities=frozenset({Capability.ENCRYPTS}))


def routing_provider(world: FakeWorld, kind: str = "bgp") -> Provider[Routing]:
    """Describe a fake routing protocol."""

    def create(_context: PluginContext, options: object) -> Routing:
        _check(options)
        return FakeRouting(world)

    return Provider(kind=kind, create=create)


def enrollment_provider(kind: str = "token") -> Provider[Enrollment]:
    """Describe a fake join method."""

    def create(_context: PluginContext, options: object) -> Enrollment:
        _check(options)
        return FakeEnrollment()

    return Provider(kind=kind, create=create)


def fabric_provider(world: FakeWorld) -> Provider[Fabric]:
    """Describe a fake cloud; its kind is that of the world's facts."""

    def create(_context: PluginContext, options: object) -> Fabric:
        _check(options)
        return FakeFabric(world)

    capabilities = frozenset({Capability.SHARES_SITE})
    return Provider(kind=world.facts.provider, create=create, capabilities=capabilities)


def _check(options: object) -> None:
    if not isinstance(options, NoOptions):
        raise TypeError(f"the fakes have no options, got {type(options).__name__}")


def _text(claim: Claim) -> str:
    return repr(attrs.evolve(claim, join_hmac="", expires_at="", revoked=False))


def _proof(claim: Claim, secret: str) -> str:
    return hmac.new(secret.encode(), _text(claim).encode(), hashlib.sha256).hexdigest()
