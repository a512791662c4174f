"""The plugin's hooks: the fabric kind `oci`. No I/O and no SDK on import."""

from collections.abc import Sequence

import routerd
from routerd.spi import Capability, Fabric, PluginInfo, Provider
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.fabric import OciFabric


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Describe the plugin."""
    return PluginInfo(
        name="cloud_oci", summary="Oracle Cloud Infrastructure: VNIC forwarding and route tables"
    )


@routerd.hookimpl
def routerd_fabrics() -> Sequence[Provider[Fabric]]:
    """Describe the fabric kind `oci`."""
    capabilities = frozenset({Capability.SHARES_SITE, Capability.DIAGNOSES})
    return [Provider(kind="oci", create=OciFabric, options=OciOptions, capabilities=capabilities)]
