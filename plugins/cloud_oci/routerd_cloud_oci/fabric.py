"""The fabric kind `oci`: VNICs that forward, and route tables that lead to our private IP."""

from collections.abc import Awaitable, Callable, Sequence

from routerd.model.fabric import FabricRoute, FabricRouteKey, Finding, Forwarding, InstanceFacts, NicRef
from routerd.spi import ForeseeingTable, PluginContext, SwitchTable, Table
from routerd_cloud_oci import metadata
from routerd_cloud_oci.account import Account
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.diagnosis import examine
from routerd_cloud_oci.forwarding import Switches
from routerd_cloud_oci.metadata import Identity
from routerd_cloud_oci.routes import RoutesTable


class OciFabric:
    """One VCN as seen from our own instance in it."""

    def __init__(
        self,
        ctx: PluginContext,
        options: OciOptions,
        *,
        identify: Callable[[], Awaitable[Identity]] = metadata.identify,
    ) -> None:
        self.account = Account(ctx, options, identify)
        self.forwarding: Table[NicRef, Forwarding] = SwitchTable(ctx, Switches(self.account))
        self.routes: ForeseeingTable[FabricRouteKey, FabricRoute] = RoutesTable(self.account)

    def share(self, next_hops: frozenset[str]) -> None:
        """Take the OCIDs of the private IPs of the site's other routers."""
        self.account.share(next_hops)

    async def start(self) -> None:
        """Import the SDK and get credentials; sends no request to the network API."""
        await self.account.open()

    async def aclose(self) -> None:
        """Close the connections; the cloud keeps what it holds."""
        await self.account.close()

    async def instance(self) -> InstanceFacts:
        """Return our VNICs, the route tables of their subnets, and our primary private IP's OCID."""
        return await self.account.find()

    async def diagnose(self) -> Sequence[Finding]:
        """Return which permissions we have and whether the network lets a leaf work."""
        return await examine(self.account)
