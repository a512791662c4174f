"""The fabric kind `pve`: routes inside guests, and a firewall that lets forwarded packets pass."""

from collections.abc import Sequence

from routerd.model.fabric import (
    FabricRoute,
    FabricRouteKey,
    Finding,
    Forwarding,
    InstanceFacts,
    NicRef,
)
from routerd.spi import ForeseeingTable, PluginContext, SwitchTable, Table
from routerd_cloud_pve.account import Account
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.diagnosis import examine
from routerd_cloud_pve.forwarding import Switches
from routerd_cloud_pve.routes import RoutesTable


class PveFabric:
    """One Proxmox VE host or cluster as seen from our own guest on it, or from beside it."""

    def __init__(self, ctx: PluginContext, options: PveOptions) -> None:
        self.account = Account(ctx, options)
        self.forwarding: Table[NicRef, Forwarding] = SwitchTable(ctx, Switches(self.account))
        self.routes: ForeseeingTable[FabricRouteKey, FabricRoute] = RoutesTable(self.account)

    def share(self, next_hops: frozenset[str]) -> None:
        """Take the addresses of the site's routers in the guests' network."""
        self.account.share(next_hops)

    async def start(self) -> None:
        """Import the SDK and read the token; sends no request to the API."""
        await self.account.open()

    async def aclose(self) -> None:
        """Close the connections; the guests keep what they hold."""
        await self.account.close()

    async def instance(self) -> InstanceFacts:
        """Return our own guest, where the options name it, and the clients' tables."""
        return await self.account.find()

    async def diagnose(self) -> Sequence[Finding]:
        """Return what the token may do, and whether the guests can take routes."""
        return await examine(self.account)
