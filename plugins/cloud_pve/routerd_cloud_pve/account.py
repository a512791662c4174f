"""The account that the parts of the fabric share: API, options, the site's routers, the guests' nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, TypeVar

from routerd.errors import PermanentError, TransientError
from routerd.model.fabric import InstanceFacts, Nic
from routerd.spi import PluginContext
from routerd.spi.site_routes import SiteRouters
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.faults import AbsentError
from routerd_cloud_pve.inventory import Done, nic_of, table_of
from routerd_cloud_pve.limits import BURST, CALLS_A_SECOND

if TYPE_CHECKING:
    from routerd_cloud_pve.client import Client

T = TypeVar("T")


class Account:
    """One Proxmox VE host or cluster, with a token for some of its guests."""

    def __init__(self, ctx: PluginContext, options: PveOptions) -> None:
        self.ctx = ctx
        self.options = options
        self.routers = SiteRouters(us=str(options.gateway))
        self._api: Client | None = None
        self._nodes: Mapping[int, str] = {}

    @property
    def api(self) -> Client:
        """Return the API; raises `TransientError` before `open`."""
        if self._api is None:
            raise TransientError("pve: not started yet")
        return self._api

    async def open(self) -> None:
        """Import the SDK and read the token."""
        wrong = sorted(each for each in self.routers.others if not _is_address(each))
        if wrong:
            raise PermanentError(
                f"pve: takeoverFrom names {', '.join(wrong)}; that is not the address of a router; write the "
                "other router's gateway in the guests' network"
            )
        api = await asyncio.to_thread(self._connect)
        await self.close()
        self._api = api

    def _connect(self) -> Client:
        from routerd_cloud_pve.client import Client  # noqa: PLC0415 - the SDK takes a while to import

        pacer = self.ctx.pacing(self.options.host, rate=CALLS_A_SECOND, burst=BURST)
        return Client(self.options, self.ctx.clock, pacer)

    async def close(self) -> None:
        """Close the connections."""
        api, self._api = self._api, None
        if api is not None:
            await api.aclose()

    def share(self, next_hops: frozenset[str]) -> None:
        """Take the addresses of the site's routers in the guests' network; ours may be among them.

        `open` reports an entry that is not an address.
        """
        us = self.routers.us
        self.routers = SiteRouters(us=us, others=next_hops - {us})

    async def find(self) -> InstanceFacts:
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


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True
