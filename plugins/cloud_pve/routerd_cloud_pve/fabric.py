"""The fabric kind `pve`: routes inside guests, and a firewall that lets forwarded packets pass."""

from routerd.spi import PluginContext
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
