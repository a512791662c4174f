"""A cloud's fabric in memory, on the site of a world."""

from __future__ import annotations

from routerd.model.fabric import InstanceFacts
from routerd.spi import Capability, Fabric, Provider
from routerd.testing.fakes.describe import describe
from routerd.testing.fakes.site import FabricRoutesTable, ForwardingTable
from routerd.testing.fakes.world import FakeWorld


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
        """Set the other routers of the site."""
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


def fabric_provider(world: FakeWorld) -> Provider[Fabric]:
    """Describe a fake cloud; its kind is that of the world's facts."""
    return describe(world.facts.provider, lambda _context: FakeFabric(world), Capability.SHARES_SITE)
