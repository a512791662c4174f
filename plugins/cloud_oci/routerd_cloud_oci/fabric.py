"""The fabric kind `oci`: VNICs that forward, and route tables that lead to our private IP."""

from collections.abc import Awaitable, Callable

from routerd.spi import PluginContext
from routerd.spi.cloud.account import CloudFabric
from routerd_cloud_oci import metadata
from routerd_cloud_oci.account import Account
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.diagnosis import examine
from routerd_cloud_oci.forwarding import Switches
from routerd_cloud_oci.metadata import Identity
from routerd_cloud_oci.routes import RoutesTable


class OciFabric(CloudFabric[Account]):
    """One VCN as seen from our own instance in it; routes name routers by their private IP's OCID."""

    def __init__(
        self,
        ctx: PluginContext,
        options: OciOptions,
        *,
        identify: Callable[[], Awaitable[Identity]] = metadata.identify,
    ) -> None:
        account = Account(ctx, options, identify)
        super().__init__(account, switches=Switches(account), routes=RoutesTable(account), examine=examine)
