"""The fabric kind `azure`: interfaces that forward, and route tables that lead to our address.

No I/O, and no SDK, on import.
"""

from collections.abc import Sequence

import routerd
from routerd.spi import Capability, Fabric, PluginContext, PluginInfo, Provider
from routerd.spi.cloud.account import CloudFabric
from routerd_cloud_azure.account import Account
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.diagnosis import examine
from routerd_cloud_azure.forwarding import Switches
from routerd_cloud_azure.routes import RoutesTable


class AzureFabric(CloudFabric[Account]):
    """One virtual network as seen from our own VM in it; routes name routers by private address."""

    def __init__(self, ctx: PluginContext, options: AzureOptions) -> None:
        account = Account(ctx, options)
        super().__init__(account, switches=Switches(account), routes=RoutesTable(account), examine=examine)


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(
        name="cloud_azure",
        api=(1, 0),
        summary="Azure virtual networks: IP forwarding and user-defined routes",
    )


@routerd.hookimpl
def routerd_fabrics() -> Sequence[Provider[Fabric]]:
    """Describe the fabric kind `azure`."""
    return [
        Provider(
            kind="azure",
            create=AzureFabric,
            options=AzureOptions,
            capabilities=frozenset({Capability.SHARES_SITE, Capability.DIAGNOSES}),
        )
    ]
