"""The fabric family: making a cloud forward what the routing learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from routerd.model.fabric import FabricRoute, FabricRouteKey, Finding, Forwarding, InstanceFacts, NicRef
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


class SharedFabric(Fabric, Protocol):
    """A fabric whose site has several routers, of which one at a time is led to."""

    def share(self, next_hops: frozenset[str]) -> None:
        """Be told, once and before `start`, how routes name the other routers of the site.

        From then on routes that lead to one of them show in `routes.observe` too. Replacing such a
        route by one that leads to us is a takeover: it is made only while the route, read right
        before, still leads to one of them, and read again afterwards where the API has no condition
        for it. A replacement may also put one back (an undo). A route that leads to another router
        is never deleted: that is a `NotOwnedError`.
        """
        ...


class DiagnosingFabric(Fabric, Protocol):
    """A fabric that can say what its credentials may and may not do."""

    async def diagnose(self) -> Sequence[Finding]:
        """Return what was checked of account, network and permissions, the failures among it.

        Changes nothing: where the API has no dry run, a permission is tried by a request that cannot
        succeed, or is reported as not known. Raises `ProviderError` only when nothing could be asked.
        """
        ...
