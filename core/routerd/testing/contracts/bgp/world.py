"""A started BGP provider and the scripted peers around it, for the rules of `BgpContract`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Protocol, cast

import attrs
import pytest

from routerd.model.addresses import ipv4
from routerd.model.change import Change
from routerd.model.route import RouteSet
from routerd.model.session import Advertisement, ImportPolicy, Session, SessionState, Speaker, Timers
from routerd.spi import BgpRouting, PluginContext, Provider
from routerd.testing.bgp import Attribute, Conversation, Open, Update, dial, establish, path_attributes
from routerd.testing.contracts.provider import running
from routerd.testing.contracts.samples import BgpPlace
from routerd.testing.contracts.table import apply, fill, observe

DEADLINE = 20.0
"""Seconds within which a rule must hold; generous, for the speaker may share its processor."""

PAUSE = 0.02
"""Seconds between two looks at what another process does."""

FAST = Timers(connect_retry=1, hold=9, keepalive=3)
POOL = IPv4Network("10.88.0.0/16")
OWNER = "BGPPeer/contract"


def host(number: int) -> IPv4Network:
    """Return a /32 of the pool that the rules announce from."""
    return IPv4Network((int(POOL.network_address) + 256 + number, 32))


@attrs.define(eq=False)
class World:
    """A provider with a speaker; peers are numbered from 0 and have the speaker's AS number.

    A peer's router ID is not its address: the two must not be mixed up.
    """

    routing: BgpRouting
    place: BgpPlace
    talks: list[Conversation] = attrs.field(factory=list)

    @property
    def speaker(self) -> Speaker:
        """Return the speaker under test."""
        return self.place.speaker

    @property
    def address(self) -> IPv4Address:
        """Return the speaker's own address."""
        assert self.speaker.listen is not None, "the speaker of the fixture `place` must name an address"
        return ipv4(self.speaker.listen, "the speaker of the fixture `place`")

    @property
    def cluster_id(self) -> IPv4Address:
        """Return the speaker's cluster ID, by default its router ID (RFC 4456 section 7)."""
        return self.speaker.cluster_id or self.speaker.router_id

    def router_id(self, peer: int) -> IPv4Address:
        """Return a peer's router ID."""
        return IPv4Address("10.99.0.11") + peer

    def opening(self, peer: int, hold_time: int = 90, asn: int | None = None) -> Open:
        """Return the OPEN that a peer sends."""
        return Open.of(asn or self.speaker.asn, self.router_id(peer), hold_time)

    async def admit(
        self,
        peer: int,
        *hosts: IPv4Network,
        policy: ImportPolicy | None = None,
        **session: Any,  # noqa: ANN401 - Any: passed on by name
    ) -> None:
        """Configure a peer's session, passive and as a client, and what may come in from it."""
        await fill(
            self.routing.import_policies,
            {self.place.peers[peer]: policy or ImportPolicy(hosts=frozenset(hosts), next_hop="unchanged")},
        )
        await fill(self.routing.sessions, {self.place.peers[peer]: self.session(**session)})

    def session(self, **session: Any) -> Session:  # noqa: ANN401 - Any: passed on by name
        """Return a session as `admit` makes it."""
        usual = Session(
            peer_asn=self.speaker.asn, owner=OWNER, passive=True, route_reflector_client=True, timers=FAST
        )
        return attrs.evolve(usual, **session)

    async def dismiss(self, peer: int) -> None:
        """Delete a peer's session."""
        address = self.place.peers[peer]
        before = (await observe(self.routing.sessions))[address]
        assert await apply(self.routing.sessions, [Change(key=address, before=before, after=None)]) == {}

    async def dial(
        self, peer: int, *, password: str | None = None, deadline: float = DEADLINE
    ) -> Conversation:
        """Connect from a peer's address and say nothing yet."""
        source = self.place.peers[peer]
        talk = await dial(source, self.address, self.speaker.port, password=password, deadline=deadline)
        self.talks.append(talk)
        return talk

    @contextlib.asynccontextmanager
    async def listen(self, peer: int) -> AsyncIterator[Callable[[], Awaitable[Conversation]]]:
        """Answer the speaker at a peer's address; what is yielded waits for it to dial."""
        came: asyncio.Queue[Conversation] = asyncio.Queue()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.talks.append(Conversation(reader, writer))
            await came.put(self.talks[-1])

        async def dialed() -> Conversation:
            async with asyncio.timeout(DEADLINE):
                return await came.get()

        server = await asyncio.start_server(accept, str(self.place.peers[peer]), self.speaker.port)
        async with server:
            yield dialed

    async def establish(
        self, peer: int, opening: Open | None = None, keepalive: float | None = 1.0
    ) -> Conversation:
        """Bring a peer's session up, as both sides see it."""
        talk = await establish(
            self.place.peers[peer],
            self.address,
            self.speaker.port,
            opening or self.opening(peer),
            keepalive=keepalive,
        )
        self.talks.append(talk)
        await self.until_state(peer, lambda state: state.established)
        return talk

    async def client(self, peer: int, *hosts: IPv4Network, **session: Any) -> Conversation:  # noqa: ANN401 - Any: passed on by name
        """Admit a peer and bring its session up."""
        await self.admit(peer, *hosts, **session)
        return await self.establish(peer)

    async def announce(
        self,
        talk: Conversation,
        peer: int,
        *prefixes: IPv4Network,
        **attributes: Any,  # noqa: ANN401 - Any: passed on by name
    ) -> tuple[Attribute, ...]:
        """Let a peer announce prefixes with itself as next hop; return the attributes that it sent."""
        made = path_attributes(self.place.peers[peer], **attributes)
        await talk.send(Update(attributes=made, reach=prefixes))
        return made

    async def state(self, peer: int) -> SessionState:
        """Return how a peer's session does."""
        states = {state.neighbour: state for state in await self.routing.states()}
        return states[self.place.peers[peer]]

    async def until_state(self, peer: int, holds: Callable[[SessionState], object]) -> SessionState:
        """Wait until something holds of a peer's session."""
        state = await self.state(peer)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE):
                while not holds(state):  # another process changes it
                    await asyncio.sleep(PAUSE)
                    state = await self.state(peer)
        assert holds(state), f"not within {DEADLINE:g} s: {state}"
        return state

    async def routes(self) -> RouteSet:
        """Return what is learned now."""
        stream = cast("AsyncGenerator[RouteSet, None]", self.routing.learned())
        async with asyncio.timeout(DEADLINE), aclosing(stream):
            async for learned in stream:
                return learned
        raise AssertionError("the stream of routes has ended")

    async def until_routes(self, holds: Callable[[RouteSet], object]) -> RouteSet:
        """Wait until something holds of what is learned."""
        learned = await self.routes()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE):
                while not holds(learned):  # another process changes it
                    await asyncio.sleep(PAUSE)
                    learned = await self.routes()
        assert holds(learned), f"not within {DEADLINE:g} s: {learned}"
        return learned

    async def advertise(self, prefix: IPv4Network, **advertisement: Any) -> None:  # noqa: ANN401 - Any: passed on by name
        """Originate a prefix."""
        value = attrs.evolve(Advertisement(owner=OWNER), **advertisement)
        await fill(self.routing.advertisements, {prefix: value})

    async def retract(self, prefix: IPv4Network) -> None:
        """Originate a prefix no more."""
        before = (await observe(self.routing.advertisements))[prefix]
        assert await apply(self.routing.advertisements, [Change(key=prefix, before=before, after=None)]) == {}

    async def aclose(self) -> None:
        """End all conversations."""
        for talk in self.talks:
            await talk.aclose()


def learned_from(routes: RouteSet, peer: IPv4Address) -> set[IPv4Network]:
    """Return the prefixes that are learned from a peer and are not stale."""
    paths = [each for each in routes.routes if each.neighbour == peer and not each.stale]
    return {ipv4(each.prefix, "a learned route") for each in paths}


class OpenWorld(Protocol):
    """Opens a world with a running speaker; what differs from the place's speaker is named."""

    def __call__(self, **speaker: Any) -> AbstractAsyncContextManager[World]:  # noqa: ANN401 - Any: passed on by name
        """Return the world while the context lasts."""


class BgpWorldContract:
    """The fixtures of `BgpContract`: an author overrides all but `options` and `open_world`."""

    @pytest.fixture
    def provider(self) -> Provider[BgpRouting]:
        """Return the provider under test."""
        raise NotImplementedError("override the fixture `provider`")

    @pytest.fixture
    def options(self, provider: Provider[BgpRouting]) -> object:
        """Return the options to create the provider with."""
        return provider.options()

    @pytest.fixture
    def context(self) -> PluginContext:
        """Return the world to create the provider in."""
        raise NotImplementedError("override the fixture `context`")

    @pytest.fixture
    def place(self) -> BgpPlace:
        """Return where the speaker listens and where its peers dial from."""
        raise NotImplementedError("override the fixture `place`")

    @pytest.fixture
    def open_world(
        self, provider: Provider[BgpRouting], context: PluginContext, options: object, place: BgpPlace
    ) -> OpenWorld:
        """Open a world by starting the provider and its speaker."""

        @contextlib.asynccontextmanager
        async def opened(**speaker: Any) -> AsyncIterator[World]:  # noqa: ANN401 - Any: passed on by name
            there = attrs.evolve(place, speaker=attrs.evolve(place.speaker, **speaker))
            async with running(provider, context, options) as made:
                await fill(made.speakers, {there.speaker.owner.rpartition("/")[2]: there.speaker})
                world = World(made, there)
                try:
                    yield world
                finally:
                    await world.aclose()

        return opened
