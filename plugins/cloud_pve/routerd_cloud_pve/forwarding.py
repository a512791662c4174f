"""The firewall of our own guest; its IP filter drops what the guest forwards."""

from collections.abc import Mapping, Sequence

from routerd.errors import NotOwnedError
from routerd.model.fabric import NicRef
from routerd.spi.cloud.account import OwnSwitches
from routerd_cloud_pve.account import Account
from routerd_cloud_pve.inventory import Filter, nic_of

SETS_REMEDY = "delete it, or switch the firewall of that NIC off"


class Switches(OwnSwitches[Account]):
    """Implements `spi.Switches`: the IP filter of our own guest's firewall, inverted.

    What complicates this:
    - Proxmox VE has no source/destination check. The firewall's IP filter comes nearest: it drops what leaves
      a NIC from another address than the guest's own (pve-firewall(8), "Standard IP set ipfilter-net*").
      The MAC filter may stay on, since a router's packets carry its own MAC.
    - The filter belongs to the guest and not to a NIC, so the guest counts as one NIC.
    - An IP set filters too, whether the option is on or off. An operator made it, so routerd only reports it.
    """

    async def own(self) -> Sequence[NicRef]:
        """Return our guest, if the options say which it is."""
        vmid = self.account.options.vmid
        return [] if vmid is None else [nic_of(vmid)]

    async def read(self, nics: Sequence[NicRef]) -> Mapping[NicRef, Filter]:
        """Return the filter of our guest."""
        return {nic: await read_filter(self.account, _vmid(nic)) for nic in nics}

    async def write(self, nic: NicRef, seen: Filter, enabled: bool) -> None:
        """Switch the filter; raises `NotOwnedError` when an IP set filters too."""
        vmid, api = _vmid(nic), self.account.api
        if seen.option is enabled:
            await self.account.at_node(
                vmid, lambda node: api.set_ip_filter(node, vmid, not enabled, digest=seen.digest)
            )
        if enabled and seen.sets:
            raise NotOwnedError(
                f"pve guest {vmid} firewall: its IP set {', '.join(seen.sets)} drops what it forwards; "
                f"routerd did not make that set; {SETS_REMEDY}"
            )


async def read_filter(account: Account, vmid: int) -> Filter:
    """Return what drops the packets that a guest forwards."""
    return await account.at_node(vmid, lambda node: account.api.filter(node, vmid))


def _vmid(nic: NicRef) -> int:
    return int(nic.rpartition("/")[2])
