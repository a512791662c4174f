"""What the plugin describes."""

from __future__ import annotations

from collections.abc import Sequence

from routerd import hookimpl
from routerd.spi import PluginInfo, Provider, Routing
from routerd_routing_static.config import StaticOptions
from routerd_routing_static.routing import StaticRouting


@hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(name="routing_static", summary="routes of a file", api=(1, 0), config=StaticOptions)


@hookimpl
def routerd_routings() -> Sequence[Provider[Routing]]:
    """Describe the routing `static`."""
    return [Provider(kind="static", options=StaticOptions, create=StaticRouting)]
