"""The hooks of the plugin: it offers the cloud `http`."""

from __future__ import annotations

from collections.abc import Sequence

import routerd
from routerd.spi import Fabric, PluginContext, PluginInfo, Provider
from routerd_cloud_http.config import HttpOptions


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is; the name is that of the entry point."""
    return PluginInfo(
        name="cloud_http", summary="route tables in a JSON document at an HTTP endpoint", api=(1, 0)
    )


@routerd.hookimpl
def routerd_fabrics() -> Sequence[Provider[Fabric]]:
    """Describe the cloud."""
    return [Provider(kind="http", create=create, options=HttpOptions)]


def create(context: PluginContext, options: HttpOptions) -> Fabric:
    """Make the fabric; it sends nothing before `start`."""
    # aiohttp takes its time: `routerd plugins` does without it.
    from routerd_cloud_http.fabric import HttpFabric  # noqa: PLC0415

    return HttpFabric(context, options)
