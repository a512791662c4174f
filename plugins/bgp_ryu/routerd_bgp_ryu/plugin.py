"""What the plugin describes; the speaker itself is imported by the child process only."""

from collections.abc import Sequence

from routerd import hookimpl
from routerd.spi import Capability, PluginInfo, Provider, Routing
from routerd_bgp_ryu.config import BgpOptions
from routerd_bgp_ryu.routing import BgpRouting


@hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(
        name="bgp_ryu",
        api=(1, 0),
        summary="BGP by the speaker of os-ken, in a process of its own",
        config=BgpOptions,
    )


@hookimpl
def routerd_routings() -> Sequence[Provider[Routing]]:
    """Describe the routing protocol `bgp`."""
    return [
        Provider(
            kind="bgp",
            options=BgpOptions,
            create=BgpRouting,
            capabilities=frozenset({Capability.BGP}),
        )
    ]
