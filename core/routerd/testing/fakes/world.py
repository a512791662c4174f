"""The world of the fakes: everything that survives a restart of the daemon."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import attrs

from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.fabric import Forwarding, InstanceFacts
from routerd.model.names import LinkName
from routerd.model.route import RouteSet
from routerd.model.session import Advertisement, ImportPolicy, Prefix, Session, Speaker
from routerd.model.tunnel import PeerKey, WireGuardDevice, WireGuardPeer
from routerd.testing.fakes.site import FACTS, FabricRoutesTable, ForwardingTable
from routerd.testing.tables import FakeTable


@attrs.frozen(kw_only=True)
class FakeNeighbour:
    """A speaker with the identity of its OPEN, and its prefixes beside the world's routes.

    Added in 1.0.
    """

    asn: int
    router_id: IPv4Address
    prefixes: frozenset[IPNetwork] = frozenset()

    def fault(self, session: Session) -> str:
        """Return in words why this speaker may not have the session; empty when it may."""
        if self.asn != session.peer_asn:
            return f"expected AS {session.peer_asn} of {session.whose}, came AS {self.asn}"
        if session.peer_router_id not in (None, self.router_id):
            expected = f"router ID {session.peer_router_id} of {session.whose}"
            return f"expected {expected}, came {self.router_id}"
        return ""


class FakeWorld:
    """The state of the fakes that survives a restart of the daemon.

    `announce` makes the neighbours announce a set of routes; `speak` makes one of them a speaker.

    Added in 1.0.
    """

    def __init__(self, facts: InstanceFacts = FACTS) -> None:
        self.facts = facts
        self.devices: dict[LinkName, WireGuardDevice] = {}
        self.options: dict[LinkName, object] = {}
        self.peers: FakeTable[PeerKey, WireGuardPeer] = FakeTable()
        self.speakers: FakeTable[str, Speaker] = FakeTable()
        self.import_policies: FakeTable[IPAddress, ImportPolicy] = FakeTable()
        self.sessions: FakeTable[IPAddress, Session] = FakeTable()
        self.advertisements: FakeTable[Prefix, Advertisement] = FakeTable()
        self.forwarding = ForwardingTable({nic.ref: Forwarding(enabled=False) for nic in facts.nics})
        self.routes = FabricRoutesTable(facts.next_hop, facts.route_tables)
        self.learned = RouteSet(complete=True)
        self.speaking: dict[IPAddress, FakeNeighbour] = {}
        self.listeners: set[asyncio.Event] = set()

    def speak(self, address: IPAddress, neighbour: FakeNeighbour | None) -> None:
        """Put a speaker at an address, or none."""
        if neighbour is None:
            self.speaking.pop(address, None)
        else:
            self.speaking[address] = neighbour
        self.announce(self.learned)

    def announce(self, learned: RouteSet) -> None:
        """Replace the routes of the neighbours; every `learned()` yields them."""
        self.learned = learned
        for listener in self.listeners:
            listener.set()
