"""The table `forwarding`: `SourceDestCheck` of our own interfaces, inverted."""

from collections.abc import Mapping, Sequence

from routerd.model.fabric import NicRef
from routerd.spi.cloud.account import OwnSwitches
from routerd_cloud_aws.account import Account
from routerd_cloud_aws.inventory import Interface


class Switches(OwnSwitches[Account]):
    """Implements `spi.Switches`; one call reads all of them, and EC2 has no condition for a write."""

    async def read(self, nics: Sequence[NicRef]) -> Mapping[NicRef, Interface]:
        """Return interfaces as EC2 shows them."""
        return {NicRef(each.ref): each for each in await self.account.api.interfaces(nics)}

    async def write(self, nic: NicRef, seen: Interface, enabled: bool) -> None:
        """Set the switch of one."""
        await self.account.api.set_forwarding(nic, enabled)
