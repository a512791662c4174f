"""The fabric kind `oci`: VNICs that forward, and route tables that lead to our private IP.

No I/O, and no SDK, on import.
"""

from collections.abc import Awaitable, Callable, Sequence

import routerd
from routerd.spi import Capability, Fabric, PluginContext, PluginInfo, Provider
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


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Describe the plugin."""
    return PluginInfo(
        name="cloud_oci", api=(1, 0), summary="Oracle Cloud Infrastructure: VNIC forwarding and route tables"
    )


@routerd.hookimpl
def routerd_fabrics() -> Sequence[Provider[Fabric]]:
    """Describe the fabric kind `oci`."""
    capabilities = frozenset({Capability.SHARES_SITE, Capability.DIAGNOSES})
    return [Provider(kind="oci", create=OciFabric, options=OciOptions, capabilities=capabilities)]
