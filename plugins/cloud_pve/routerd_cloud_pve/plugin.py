"""The fabric kind `pve`: routes inside guests, and a firewall that lets forwarded packets pass.

No I/O, and no SDK, on import.
"""

from collections.abc import Sequence

import routerd
from routerd.spi import Capability, Fabric, PluginContext, PluginInfo, Provider
from routerd.spi.cloud.account import CloudFabric
from routerd_cloud_pve.account import Account
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.diagnosis import examine
from routerd_cloud_pve.forwarding import Switches
from routerd_cloud_pve.routes import RoutesTable


class PveFabric(CloudFabric[Account]):
    """One Proxmox VE host or cluster as seen from our own guest on it, or from beside it."""

    def __init__(self, ctx: PluginContext, options: PveOptions) -> None:
        account = Account(ctx, options)
        super().__init__(account, switches=Switches(account), routes=RoutesTable(account), examine=examine)


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Describe the plugin."""
    return PluginInfo(
        name="cloud_pve", api=(1, 0), summary="Proxmox VE: routes inside guests, through the guest agent"
    )


@routerd.hookimpl
def routerd_fabrics() -> Sequence[Provider[Fabric]]:
    """Describe the fabric kind `pve`."""
    capabilities = frozenset({Capability.IN_GUEST_ROUTES, Capability.SHARES_SITE, Capability.DIAGNOSES})
    return [Provider(kind="pve", create=PveFabric, options=PveOptions, capabilities=capabilities)]
