"""The fabric kind `pve`: who we are on the host, and a firewall that lets pass what we forward."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import TYPE_CHECKING, TypeVar

from routerd.errors import PermanentError, TransientError
from routerd.model.fabric import (
    FabricRoute,
    FabricRouteKey,
    Finding,
    Forwarding,
    InstanceFacts,
    Nic,
    NicRef,
)
from routerd.spi import ForeseeingTable, PluginContext, Table
from routerd_cloud_pve.config import Guest, PveOptions
from routerd_cloud_pve.diagnosis import diagnose
from routerd_cloud_pve.faults import AbsentError
from routerd_cloud_pve.forwarding import IpFilter, nic_of
from routerd_cloud_pve.guest import GuestRoute
from routerd_cloud_pve.ownership import Routers
from routerd_cloud_pve.routes import GuestRoutes, table_of

if TYPE_CHECKING:
    from routerd_cloud_pve.client import Api, Done

T = TypeVar("T")


class PveFabric:
    """One Proxmox VE host or cluster as seen from our own guest on it, or from beside it."""

    def __init__(self, ctx: PluginContext, options: PveOptions) -> None:
        self._ctx = ctx
        self.options = options
        self._api: Api | None = None
        self._nodes: Mapping[int, str] = {}
        self._nobody: tuple[str, ...] = ()
        self.routers = Routers(ours=options.gateway)
        self.forwarding: Table[NicRef, Forwarding] = IpFilter(self)
        self._guests = GuestRoutes(self)
        self.routes: ForeseeingTable[FabricRouteKey, FabricRoute] = self._guests

    def share(self, next_hops: frozenset[str]) -> None:
        """Be told the addresses of the site's other routers in the guests' network; ours may be among them.

        What is no address is reported by `start`.
        """
        addresses = {each: _address(each) for each in sorted(next_hops)}
        self._nobody = tuple(each for each, address in addresses.items() if address is None)
        others = frozenset(each for each in addresses.values() if each is not None)
        self.routers = Routers(ours=self.options.gateway, others=others - {self.options.gateway})

    async def start(self) -> None:
        """Import the SDK and read the token; no request to the API yet."""
        if self._nobody:
            raise PermanentError(
                f"pve: {', '.join(self._nobody)} is no address of a router; takeoverFrom needs the other "
                "router's gateway in the guests' network"
            )
        api = await asyncio.to_thread(self._connect)
        await self.aclose()
        self._api = api

    def _connect(self) -> Api:
        from routerd_cloud_pve import client  # noqa: PLC0415 - the SDK takes a while to import

        pacer = self._ctx.pacing(self.options.host, rate=client.CALLS_A_SECOND, burst=client.BURST)
        return client.Api(self.options, self._ctx.clock, pacer)

    async def aclose(self) -> None:
        """Let go of the API; what the guests hold stays."""
        api, self._api = self._api, None
        if api is not None:
            await api.aclose()

    async def instance(self) -> InstanceFacts:
        """Return our own guest, where `vmid` says which it is, and the guests to be told of routes.

        A client that is not there does not show here: it may come, and the others are served.
        """
        options = self.options
        await self.look()
        nics: tuple[Nic, ...] = ()
        if options.vmid is not None:
            self._node(options.vmid)
            nics = (Nic(ref=nic_of(options.vmid), address=options.gateway, primary=True),)
        return InstanceFacts(
            provider="pve",
            instance=f"qemu/{options.vmid}" if options.vmid is not None else options.host,
            nics=nics,
            next_hop=str(options.gateway),
            route_tables=tuple(table_of(each.vmid) for each in options.guests),
        )

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        if self._api is None:
            raise TransientError("pve: not started yet")
        return self._api

    async def look(self) -> None:
        """Ask where the guests are; they move between the nodes of a cluster."""
        self._nodes = await self.api.nodes()

    async def diagnose(self) -> Sequence[Finding]:
        """Return what the token may do, and whether the guests can be told of routes."""
        return await diagnose(self)

    async def guest_routes(self, member: Guest) -> Mapping[IPv4Network, GuestRoute]:
        """Return all routes of a guest."""
        return await self._guests.table(member)

    async def run(self, vmid: int, command: Sequence[str], text: str = "") -> Done:
        """Run a command in a guest."""
        return await self.at_node(vmid, lambda node: self.api.run(node, vmid, command, text))

    async def at_node(self, vmid: int, ask: Callable[[str], Awaitable[T]]) -> T:
        """Ask the node of a guest; one that has moved is looked for and asked for at its new node."""
        if vmid not in self._nodes:
            await self.look()
        node = self._node(vmid)
        try:
            return await ask(node)
        except AbsentError:
            await self.look()
            if self._node(vmid) == node:
                raise
            return await ask(self._node(vmid))

    def _node(self, vmid: int) -> str:
        if vmid not in self._nodes:
            raise PermanentError(
                f"pve guest {vmid}: there is no such QEMU guest, or the token's role lacks VM.Audit on "
                f"/vms/{vmid}"
            )
        return self._nodes[vmid]

    def refuse_dry_run(self) -> None:
        """Raise when nothing may be changed."""
        if self._ctx.read_only:
            raise TransientError("pve: nothing is changed in a dry run")

    def log(self, event: str, **facts: object) -> None:
        """Log a change that was made."""
        self._ctx.log.info(event, **facts)

    def warn(self, event: str, **facts: object) -> None:
        """Log what an operator should look at."""
        self._ctx.log.warning(event, **facts)


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None
