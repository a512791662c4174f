"""The forwarding switch of our own VNICs: `skipSourceDestCheck`."""

from collections.abc import Mapping, Sequence

from routerd.model.fabric import NicRef
from routerd.spi.cloud.account import OwnSwitches
from routerd_cloud_oci.account import Account
from routerd_cloud_oci.inventory import Vnic


class Switches(OwnSwitches[Account]):
    """Implements `spi.Switches`: one read for each VNIC, and one write under its ETag."""

    async def read(self, nics: Sequence[NicRef]) -> Mapping[NicRef, Vnic]:
        """Return VNICs as OCI shows them now."""
        return {nic: await self.account.api.vnic(nic) for nic in nics}

    async def write(self, nic: NicRef, seen: Vnic, enabled: bool) -> None:
        """Set the switch; raises `StaleError` when the VNIC changed since it was read."""
        await self.account.api.set_forwarding(nic, enabled, seen.etag)
