"""The hooks of the plugin: it offers the fabric kind `static`."""

from __future__ import annotations

from collections.abc import Sequence

import routerd
from routerd.spi import Fabric, PluginContext, PluginInfo, Provider
from routerd_fabric_static.config import StaticOptions
from routerd_fabric_static.fabric import StaticFabric


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is; the name is that of the entry point."""
    return PluginInfo(name="fabric_static", api=(1, 0), summary="route tables in a JSON file")


@routerd.hookimpl
def routerd_fabrics() -> Sequence[Provider[Fabric]]:
    """Describe the fabric; `create` is called when a profile says `provider: static`."""
    return [Provider(kind="static", create=create, options=StaticOptions)]


def create(context: PluginContext, options: StaticOptions) -> Fabric:
    """Make the fabric; it reads and writes nothing before `start`."""
    return StaticFabric(context.plugin, options)
