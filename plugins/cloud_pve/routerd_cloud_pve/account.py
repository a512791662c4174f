"""The account that the parts of the fabric share: API, options, the site's routers, the guests' nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from routerd.errors import PermanentError
from routerd.model.fabric import InstanceFacts, Nic
from routerd.spi import PluginContext
from routerd.spi.cloud.account import CloudAccount, not_addresses
from routerd.spi.site_routes import SiteRouters
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.faults import AbsentError
from routerd_cloud_pve.inventory import Done, nic_of, table_of
from routerd_cloud_pve.limits import BURST, CALLS_A_SECOND

if TYPE_CHECKING:
    from routerd_cloud_pve.client import Client

T = TypeVar("T")


class Account(CloudAccount["Client"]):
    """One Proxmox VE host or cluster, with a token for some of its guests.

    Routes name routers by their address in the guests' network.
    """

    cloud = "pve"

    def __init__(self, ctx: PluginContext, options: PveOptions) -> None:
        super().__init__(ctx)
        self.options = options
        self._nodes: Mapping[int, str] = {}

    async def connect(self) -> Client:
        """Import the SDK and read the token."""
        if wrong := not_addresses(self.others):
            raise PermanentError(
                f"pve: takeoverFrom names {', '.join(wrong)}; that is not the address of a router; write the "
                "other router's gateway in the guests' network"
            )
        return await asyncio.to_thread(self._connect)

    def _connect(self) -> Client:
        from routerd_cloud_pve.client import Client  # noqa: PLC0415 - the SDK takes a while to import

        pacer = self.ctx.pacing(self.options.host, rate=CALLS_A_SECOND, burst=BURST)
        return Client(self.options, self.ctx.clock, pacer)

    @property
    def site(self) -> SiteRouters:
        """Return how routes name us and the site's other routers."""
        us = str(self.options.gateway)
        return SiteRouters(us=us, others=self.others - {us})

    async def discover(self) -> InstanceFacts:
        """Return our own guest, where `vmid` says which it is, and the clients' tables.

        A client that does not exist is not an error here: it may come, and the others are served.
        """
        options = self.options
        await self.locate()
        nics: tuple[Nic, ...] = ()
        if options.vmid is not None:
            self.node(options.vmid)
            nics = (Nic(ref=nic_of(options.vmid), address=options.gateway, primary=True),)
        return InstanceFacts(
            provider="pve",
            instance=f"qemu/{options.vmid}" if options.vmid is not None else options.host,
            nics=nics,
            next_hop=str(options.gateway),
            route_tables=tuple(table_of(each.vmid) for each in options.guests),
        )

    async def locate(self) -> None:
        """Ask on which nodes the guests run; they move between the nodes of a cluster."""
        self._nodes = await self.api.nodes()

    def node(self, vmid: int) -> str:
        """Return the node of a guest, as `locate` last found it."""
        if vmid not in self._nodes:
            raise PermanentError(
                f"pve guest {vmid}: the token sees no QEMU guest of that number; correct vmid, or give the "
                f"token's role VM.Audit on /vms/{vmid}"
            )
        return self._nodes[vmid]

    async def at_node(self, vmid: int, ask: Callable[[str], Awaitable[T]]) -> T:
        """Ask the node of a guest; if the guest has moved, ask its new node."""
        if vmid not in self._nodes:
            await self.locate()
        node = self.node(vmid)
        try:
            return await ask(node)
        except AbsentError:
            await self.locate()
            if self.node(vmid) == node:
                raise
            return await ask(self.node(vmid))

    async def run(self, vmid: int, command: Sequence[str], text: str = "") -> Done:
        """Run a command in a guest."""
        return await self.at_node(vmid, lambda node: self.api.run(node, vmid, command, text))
