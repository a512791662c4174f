"""The fabric family: making a cloud forward what the routing learned."""

from __future__ import annotations

from typing import Protocol

from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, InstanceFacts, NicRef
from routerd.spi.provider import Lifecycle
from routerd.spi.table import Table


class Fabric(Lifecycle, Protocol):
    """One cloud account as seen from our own instance in it."""

    async def instance(self) -> InstanceFacts:
        """Return who we are, from the metadata service and the API, or from the options."""
        ...

    @property
    def forwarding(self) -> Table[NicRef, Forwarding]:
        """Return the forwarding switch of each of our own NICs.

        `observe` reports every NIC of `InstanceFacts.nics` with its present setting; a deletion
        is never asked for, undoing is a replacement by the prior value.
        """
        ...

    @property
    def routes(self) -> Table[FabricRouteKey, FabricRoute]:
        """Return the routes in `InstanceFacts.route_tables` whose next hop is our own.

        A route to anything else is foreign: it does not show in `observe`, and a creation on its
        prefix is a `NotOwnedError` that names the foreign next hop.
        """
        ...
