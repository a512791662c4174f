"""The firewall of our own guest, which drops what we forward while it filters by address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from routerd.errors import NotOwnedError, ProviderError
from routerd.model.change import Change
from routerd.model.fabric import Forwarding, NicRef

if TYPE_CHECKING:
    from routerd_cloud_pve.fabric import PveFabric

SETS_REMEDY = "delete it, or switch the firewall of that NIC off"


class IpFilter:
    """Implements `spi.Table`: the IP filter of our own guest's firewall, inverted.

    Proxmox VE has no source/destination check. What comes nearest is the firewall's IP filter,
    which drops what leaves a NIC from another address than the guest's own (pve-firewall(8),
    "Standard IP set ipfilter-net*"); the MAC filter lets a router's packets pass, since they carry
    its own MAC.
    """

    def __init__(self, fabric: PveFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        """Return whether our guest may forward; nothing when we do not know which it is."""
        vmid = self._fabric.options.vmid
        if vmid is None:
            return {}
        found = await self._fabric.at_node(vmid, lambda node: self._fabric.api.filter(node, vmid))
        return {nic_of(vmid): Forwarding(enabled=not found.drops)}

    async def apply(self, changes: Sequence[Change[NicRef, Forwarding]]) -> Mapping[NicRef, ProviderError]:
        """Switch the filter; an IP set that filters too is somebody's work, and is reported."""
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
        if vmid is None or nic != nic_of(vmid):
            raise NotOwnedError(f"pve {nic}: is not the guest that we are; set vmid to switch its filter")
        api = self._fabric.api
        found = await self._fabric.at_node(vmid, lambda node: api.filter(node, vmid))
        if found.drops is not enabled:
            return
        if found.option is enabled:
            await self._fabric.at_node(
                vmid, lambda node: api.set_ip_filter(node, vmid, not enabled, digest=found.digest)
            )
            self._fabric.log("pve.forwarding.set", guest=vmid, enabled=enabled)
        if enabled and found.sets:
            raise NotOwnedError(
                f"pve guest {vmid} firewall: its IP set {', '.join(found.sets)} drops what it forwards, and "
                f"is not ours; {SETS_REMEDY}"
            )


def nic_of(vmid: int) -> NicRef:
    """Return how the one NIC that we switch is called: the filter is the guest's, not a NIC's."""
    return NicRef(f"qemu/{vmid}")
