"""The plugin's hooks: the fabric kind `pve`. No I/O and no SDK on import."""

from collections.abc import Sequence

import routerd
from routerd.spi import Capability, Fabric, PluginInfo, Provider
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.fabric import PveFabric


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Describe the plugin."""
    return PluginInfo(name="cloud_pve", summary="Proxmox VE: routes inside guests, through the guest agent")


@routerd.hookimpl
def routerd_fabrics() -> Sequence[Provider[Fabric]]:
    """Describe the fabric kind `pve`."""
    capabilities = frozenset({Capability.IN_GUEST_ROUTES, Capability.SHARES_SITE, Capability.DIAGNOSES})
    return [Provider(kind="pve", create=PveFabric, options=PveOptions, capabilities=capabilities)]
