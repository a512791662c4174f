"""The routes and the switches of a cloud in memory, with the facts of one instance in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from routerd.errors import TransientError
from routerd.model.change import Change
from routerd.model.fabric import (
    FabricRoute,
    FabricRouteKey,
    Forwarding,
    InstanceFacts,
    Nic,
    NicRef,
    RouteTableRef,
)
from routerd.spi.site_routes import Settled, SiteRouters, fault, judge_change
from routerd.testing.tables import FakeTable

FACTS = InstanceFacts(
    provider="fake",
    instance="instance-1",
    nics=(Nic(ref=NicRef("nic-1"), address=IPv4Address("10.1.0.4"), subnet="subnet-1", primary=True),),
    next_hop="nic-1",
    route_tables=(RouteTableRef("table-1"),),
    networks=(IPv4Network("10.1.0.0/24"),),
)


class FabricRoutesTable(FakeTable[FabricRouteKey, FabricRoute]):
    """A cloud's routes, of which only those to `next_hop` are ours; refuses unknown route tables.

    `others` are the next hops of the site's other routers. `join` makes the tables of two routers show
    one cloud.
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
        """Return the routes to us and to the site's other routers."""
        ours = await super().observe()
        theirs = {key: route for key, route in self.foreign.items() if route.next_hop in self.others}
        return {**ours, **theirs}

    def _make(self, change: Change[FabricRouteKey, FabricRoute]) -> None:
        if change.key.table not in self._tables:
            raise TransientError(f"route table {change.key.table} does not exist")
        present = self.foreign.get(change.key, self.content.get(change.key))
        routers = SiteRouters(us=self._next_hop, others=self.others)
        verdict = judge_change(change, None if present is None else present.next_hop, routers)
        error = fault(verdict, str(change.key))
        if error is not None:
            raise error
        if isinstance(verdict, Settled):
            return
        self.foreign.pop(change.key, None)
        if present is not None:
            self.content[change.key] = present
        super()._make(change)
        self.settle(change.key, change.after)
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
