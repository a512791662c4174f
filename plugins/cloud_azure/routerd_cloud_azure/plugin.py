"""What the plugin offers: the fabric kind `azure`. No I/O, and no SDK, on import."""

from collections.abc import Sequence

import routerd
from routerd.spi import Capability, Fabric, PluginInfo, Provider
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.fabric import AzureFabric


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(
        name="cloud_azure", summary="Azure virtual networks: IP forwarding and user-defined routes"
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
