"""The fabric kind `azure`: interfaces that forward, and route tables that lead to our address."""

from collections.abc import Sequence

from routerd.model.fabric import FabricRoute, FabricRouteKey, Finding, Forwarding, InstanceFacts, NicRef
from routerd.spi import ForeseeingTable, PluginContext, SwitchTable, Table
from routerd_cloud_azure.account import Account
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.diagnosis import examine
from routerd_cloud_azure.forwarding import Switches
from routerd_cloud_azure.routes import RoutesTable


class AzureFabric:
    """Implements `spi.SharedFabric` and `spi.DiagnosingFabric`: an account, and the two tables on it."""

    def __init__(self, ctx: PluginContext, options: AzureOptions) -> None:
        self.account = Account(ctx, options)
        self.forwarding: Table[NicRef, Forwarding] = SwitchTable(ctx, Switches(self.account))
        self.routes: ForeseeingTable[FabricRouteKey, FabricRoute] = RoutesTable(self.account)

    def share(self, next_hops: frozenset[str]) -> None:
        """Learn the private addresses of the site's other routers."""
        self.account.share(next_hops)

    async def start(self) -> None:
        """Ask who we are and import the SDK; no request to the API yet."""
        await self.account.open()

    async def aclose(self) -> None:
        """Close the connections; what the cloud holds stays."""
        await self.account.close()

    async def instance(self) -> InstanceFacts:
        """Return our interfaces and the route tables of their subnets."""
        return await self.account.find()

    async def diagnose(self) -> Sequence[Finding]:
        """Return what of permissions, interfaces and route tables was checked; changes nothing."""
        return await examine(self.account)
