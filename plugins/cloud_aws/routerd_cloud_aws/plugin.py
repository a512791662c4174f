"""What the plugin offers: the fabric kind `aws`. No I/O, and no SDK, on import."""

from collections.abc import Sequence

import routerd
from routerd.spi import Capability, Fabric, PluginInfo, Provider
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.fabric import AwsFabric


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(name="cloud_aws", summary="Amazon VPC: source/destination checks and route tables")


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
