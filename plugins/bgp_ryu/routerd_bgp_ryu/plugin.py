"""What the plugin describes; the speaker itself is imported by the child process only."""

from __future__ import annotations

from collections.abc import Sequence

from routerd import hookimpl
from routerd.errors import PluginError
from routerd.spi import PluginContext, PluginInfo, Provider, Routing
from routerd_bgp_ryu.config import BgpOptions
from routerd_bgp_ryu.routing import BgpRouting


@hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(
        name="bgp_ryu", summary="BGP by the speaker of Ryu and os-ken, in a child process", config=BgpOptions
    )


@hookimpl
def routerd_routings() -> Sequence[Provider[Routing]]:
    """Describe the routing protocol `bgp`."""
    return [Provider(kind="bgp", options=BgpOptions, create=_create)]


def _create(context: PluginContext, options: object) -> Routing:
    if not isinstance(options, BgpOptions):
        raise PluginError(f"bgp_ryu: expected BgpOptions, got {options!r}")
    return BgpRouting(context, options)
