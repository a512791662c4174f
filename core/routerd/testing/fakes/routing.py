"""A routing protocol in memory; the test plays its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import attrs

from routerd.model.addresses import IPAddress
from routerd.model.route import LearnedRoute, RouteSet
from routerd.model.session import Advertisement, ImportPolicy, Prefix, Session, SessionState, Speaker
from routerd.spi import BgpRouting, Capability, Provider
from routerd.testing.fakes.describe import describe
from routerd.testing.fakes.world import FakeWorld
from routerd.testing.tables import FakeTable


class FakeRouting:
    """Implements `spi.BgpRouting`; the test announces the routes.

    A session comes up when the expected speaker is at its neighbour's address (`FakeWorld.speak`). The
    fake learns no route of an unexpected speaker.

    Added in 1.0.
    """

    preference = 200

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
    def import_policies(self) -> FakeTable[IPAddress, ImportPolicy]:
        """Return the import policies."""
        return self._world.import_policies

    @property
    def sessions(self) -> FakeTable[IPAddress, Session]:
        """Return the sessions."""
        return self._world.sessions

    @property
    def advertisements(self) -> FakeTable[Prefix, Advertisement]:
        """Return the advertisements."""
        return self._world.advertisements

    async def learned(self) -> AsyncIterator[RouteSet]:
        """Yield the present routes, then those after each announcement."""
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

    def _state(self, address: IPAddress, session: Session) -> SessionState:
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
        """Return the routes without those of refused speakers and those that a policy refuses."""
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


def routing_provider(world: FakeWorld, kind: str = "bgp") -> Provider[BgpRouting]:
    """Describe a fake speaker of BGP."""
    return describe(kind, lambda _context: FakeRouting(world), Capability.BGP)
