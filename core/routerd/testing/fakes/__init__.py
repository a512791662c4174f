"""A provider of each family, in memory; they pass the same contract suites as the real ones.

A `FakeWorld` holds everything that a provider leaves behind, so a second provider on the same world
plays a restart. Links are in the context's kernel.
"""

from routerd.testing.fakes.enrollment import FakeEnrollment, enrollment_provider
from routerd.testing.fakes.fabric import FakeFabric, fabric_provider
from routerd.testing.fakes.routing import FakeRouting, routing_provider
from routerd.testing.fakes.site import FACTS, FabricRoutesTable, ForwardingTable
from routerd.testing.fakes.transport import (
    OVERHEAD,
    FakeEncryptingTransport,
    FakeTransport,
    TunnelTable,
    encrypting_provider,
    transport_provider,
)
from routerd.testing.fakes.world import FakeNeighbour, FakeWorld

__all__ = [
    "FACTS",
    "OVERHEAD",
    "FabricRoutesTable",
    "FakeEncryptingTransport",
    "FakeEnrollment",
    "FakeFabric",
    "FakeNeighbour",
    "FakeRouting",
    "FakeTransport",
    "FakeWorld",
    "ForwardingTable",
    "TunnelTable",
    "encrypting_provider",
    "enrollment_provider",
    "fabric_provider",
    "routing_provider",
    "transport_provider",
]
