"""The fabric family: making a cloud forward what the routing learned."""

from collections.abc import Sequence
from typing import Protocol

from routerd.model.fabric import FabricRoute, FabricRouteKey, Finding, Forwarding, InstanceFacts, NicRef
from routerd.spi.provider import Lifecycle
from routerd.spi.table import Table


class Fabric(Lifecycle, Protocol):
    """One cloud account as seen from our own instance in it."""

    async def instance(self) -> InstanceFacts:
        """Return who we are, from the metadata service and the API, or from the options."""

    @property
    def forwarding(self) -> Table[NicRef, Forwarding]:
        """Return the forwarding switch of each of our own NICs, a `SwitchTable` in most clouds.

        `observe` reports every NIC of `InstanceFacts.nics` with its present setting. The core never
        asks for a deletion: an undo is a replacement by the prior value.
        """

    @property
    def routes(self) -> Table[FabricRouteKey, FabricRoute]:
        """Return the routes in `InstanceFacts.route_tables` whose next hop is our own.

        A route to anything else is foreign: `observe` leaves it out. `spi.site_routes.judge` decides
        which changes a fabric makes; a creation on a foreign prefix is a `NotOwnedError` that names the
        foreign next hop.
        """


class SharedFabric(Fabric, Protocol):
    """A fabric whose site has several routers, of which one at a time has the routes."""

    def share(self, next_hops: frozenset[str]) -> None:
        """Learn, once and before `start`, how routes name the other routers of the site.

        From then on `routes.observe` shows routes that lead to one of them, too. The table of
        `spi.site_routes` says which change a fabric makes. It judges by what it reads right before the
        write, and where the API has no condition for a write it reads again afterwards.
        """


class DiagnosingFabric(Fabric, Protocol):
    """A fabric that can say what its credentials may and may not do."""

    async def diagnose(self) -> Sequence[Finding]:
        """Return what was checked of account, network and permissions, the failures among it.

        Changes nothing. Where the API has no dry run, the fabric tries a permission by a request that
        cannot succeed, or reports the permission as unknown. Raises `ProviderError` only if no check
        could be made.
        """
