"""The fabric kind `pve`: who we are on the host, and a firewall that lets pass what we forward."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, InstanceFacts, Nic, NicRef
from routerd.spi import PluginContext, Table
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.routes import GuestRoutes, table_of

if TYPE_CHECKING:
    from routerd_cloud_pve.client import Api


class PveFabric:
    """One Proxmox VE host or cluster as seen from our own guest on it, or from beside it."""

    def __init__(self, ctx: PluginContext, options: PveOptions) -> None:
        self._ctx = ctx
        self.options = options
        self._api: Api | None = None
        self._nodes: Mapping[int, str] = {}
        self.forwarding: Table[NicRef, Forwarding] = _ForwardingTable(self)
        self.routes: Table[FabricRouteKey, FabricRoute] = GuestRoutes(self)

    async def start(self) -> None:
        """Import the SDK and read the token; no request to the API yet."""
        api = await asyncio.to_thread(self._connect)
        await self.aclose()
        self._api = api

    def _connect(self) -> Api:
        from routerd_cloud_pve.client import Api  # noqa: PLC0415 - the SDK takes a while to import

        return Api(self.options, self._ctx.clock)

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
            nics = (Nic(ref=_nic(options.vmid), address=options.gateway, primary=True),)
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

    async def locate(self, vmid: int) -> str:
        """Return the node of a guest, asked for when it is not known."""
        if vmid not in self._nodes:
            await self.look()
        return self._node(vmid)

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


class _ForwardingTable:
    """The IP filter of our own guest's firewall, inverted.

    Proxmox VE has no source/destination check. What comes nearest is the firewall's IP filter,
    which drops what leaves a NIC from another address than the guest's own (pve-firewall(8),
    "Standard IP set ipfilter-net*"); the MAC filter lets a router's packets pass, since they carry
    its own MAC.
    """

    def __init__(self, fabric: PveFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        vmid = self._fabric.options.vmid
        if vmid is None:
            return {}
        await self._fabric.look()
        found = await self._fabric.api.filter(await self._fabric.locate(vmid), vmid)
        return {_nic(vmid): Forwarding(enabled=not found.drops)}

    async def apply(self, changes: Sequence[Change[NicRef, Forwarding]]) -> Mapping[NicRef, ProviderError]:
        failures: dict[NicRef, ProviderError] = {}
        for change in changes:
            # The switch cannot be deleted, only set; a deletion leaves it alone.
            if change.after is None:
                continue
            try:
                await self._set(change.key, enabled=change.after.enabled)
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _set(self, nic: NicRef, *, enabled: bool) -> None:
        self._fabric.refuse_dry_run()
        vmid = self._fabric.options.vmid
        if vmid is None or nic != _nic(vmid):
            raise NotOwnedError(f"pve {nic}: is not the guest that we are; set vmid to switch its filter")
        node = await self._fabric.locate(vmid)
        found = await self._fabric.api.filter(node, vmid)
        if found.drops is not enabled:
            return
        if found.option is enabled:
            await self._fabric.api.set_ip_filter(node, vmid, not enabled)
            self._fabric.log("pve.forwarding.set", guest=vmid, enabled=enabled)
        if enabled and found.sets:
            raise NotOwnedError(
                f"pve guest {vmid} firewall: its IP set {', '.join(found.sets)} drops what it forwards, and "
                "is not ours; delete it, or switch the firewall of that NIC off"
            )


def _nic(vmid: int) -> NicRef:
    return NicRef(f"qemu/{vmid}")
