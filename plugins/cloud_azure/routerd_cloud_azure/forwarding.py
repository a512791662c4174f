"""The table `forwarding`: `enableIPForwarding` of our own interfaces."""

from collections.abc import Mapping, Sequence

from routerd.model.fabric import NicRef
from routerd_cloud_azure.account import Account
from routerd_cloud_azure.inventory import Interface


class Switches:
    """Implements `spi.Switches`; a write replaces the interface that was read, under its ETag."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def own(self) -> Sequence[NicRef]:
        """Return our interfaces."""
        return [nic.ref for nic in (await self._account.facts()).nics]

    async def read(self, nics: Sequence[NicRef]) -> Mapping[NicRef, Interface]:
        """Return interfaces as Azure shows them."""
        return {nic: await self._account.api.interface(nic) for nic in nics}

    async def write(self, nic: NicRef, seen: Interface, enabled: bool) -> None:
        """Set the switch of one."""
        await self._account.api.set_forwarding(seen, enabled)
