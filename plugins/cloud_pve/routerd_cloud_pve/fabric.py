"""The fabric kind `pve`: routes inside guests, and a firewall that lets forwarded packets pass."""

from __future__ import annotations

from collections.abc import Sequence

from routerd.model.fabric import (
    FabricRoute,
    FabricRouteKey,
    Finding,
    Forwarding,
    InstanceFacts,
    Nic,
    NicRef,
)
from routerd.spi import ForeseeingTable, PluginContext, SwitchTable, Table
from routerd.spi.site_routes import SiteRouters
from routerd_cloud_pve.account import Account
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.diagnosis import diagnose
from routerd_cloud_pve.forwarding import IpFilter
from routerd_cloud_pve.inventory import nic_of, table_of
from routerd_cloud_pve.routes import GuestRoutes


class PveFabric:
    """One Proxmox VE host or cluster as seen from our own guest on it, or from beside it."""

    def __init__(self, ctx: PluginContext, options: PveOptions) -> None:
        self.account = Account(ctx, options)
        self.forwarding: Table[NicRef, Forwarding] = SwitchTable(ctx, IpFilter(self.account))
        self.routes: ForeseeingTable[FabricRouteKey, FabricRoute] = GuestRoutes(self.account)

    def share(self, next_hops: frozenset[str]) -> None:
        """Take the addresses of the site's routers in the guests' network; ours may be among them.

        `start` reports an entry that is not an address.
        """
        us = self.account.routers.us
        self.account.routers = SiteRouters(us=us, others=next_hops - {us})

    async def start(self) -> None:
        """Import the SDK and read the token; sends no request to the API."""
        await self.account.open()

    async def aclose(self) -> None:
        """Close the connections; the guests keep what they hold."""
        await self.account.aclose()

    async def instance(self) -> InstanceFacts:
        """Return our own guest, where `vmid` says which it is, and the clients' tables.

        A client that does not exist is not an error here: it may come, and the others are served.
        """
        options = self.account.options
        await self.account.locate()
        nics: tuple[Nic, ...] = ()
        if options.vmid is not None:
            self.account.node(options.vmid)
            nics = (Nic(ref=nic_of(options.vmid), address=options.gateway, primary=True),)
        return InstanceFacts(
            provider="pve",
            instance=f"qemu/{options.vmid}" if options.vmid is not None else options.host,
            nics=nics,
            next_hop=str(options.gateway),
            route_tables=tuple(table_of(each.vmid) for each in options.guests),
        )

    async def diagnose(self) -> Sequence[Finding]:
        """Return what the token may do, and whether the guests can take routes."""
        return await diagnose(self.account)
