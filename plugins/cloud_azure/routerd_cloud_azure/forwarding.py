"""The table `forwarding`: `enableIPForwarding` of our own interfaces."""

from collections.abc import Mapping, Sequence

from routerd.model.fabric import NicRef
from routerd.spi.cloud.account import OwnSwitches
from routerd_cloud_azure.account import Account
from routerd_cloud_azure.inventory import Interface


class Switches(OwnSwitches[Account]):
    """Implements `spi.Switches`; a write replaces the interface that was read, under its ETag."""

    async def read(self, nics: Sequence[NicRef]) -> Mapping[NicRef, Interface]:
        """Return interfaces as Azure shows them."""
        return {nic: await self.account.api.interface(nic) for nic in nics}

    async def write(self, nic: NicRef, seen: Interface, enabled: bool) -> None:
        """Set the switch of one."""
        await self.account.api.set_forwarding(seen, enabled)
