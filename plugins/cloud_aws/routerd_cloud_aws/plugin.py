"""The fabric kind `aws`: interfaces that forward, and route tables that lead to our interface.

No I/O, and no SDK, on import.
"""

from collections.abc import Sequence

import routerd
from routerd.spi import Capability, Fabric, PluginContext, PluginInfo, Provider
from routerd.spi.cloud.account import CloudFabric
from routerd_cloud_aws.account import Account
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.diagnosis import examine
from routerd_cloud_aws.forwarding import Switches
from routerd_cloud_aws.routes import RoutesTable


class AwsFabric(CloudFabric[Account]):
    """One VPC as seen from our own instance in it; routes name routers by their interface, `eni-...`."""

    def __init__(self, ctx: PluginContext, options: AwsOptions) -> None:
        account = Account(ctx, options)
        super().__init__(account, switches=Switches(account), routes=RoutesTable(account), examine=examine)


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(
        name="cloud_aws", api=(1, 0), summary="Amazon VPC: source/destination checks and route tables"
    )


@routerd.hookimpl
def routerd_fabrics() -> Sequence[Provider[Fabric]]:
    """Describe the fabric kind `aws`."""
    return [
        Provider(
            kind="aws",
            create=AwsFabric,
            options=AwsOptions,
            capabilities=frozenset({Capability.SHARES_SITE, Capability.DIAGNOSES}),
        )
    ]
