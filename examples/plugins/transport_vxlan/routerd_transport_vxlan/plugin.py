"""The hooks of the plugin: it offers the transport `vxlan`."""

from collections.abc import Sequence

import routerd
from routerd.errors import PluginError
from routerd.spi import NoOptions, PluginContext, PluginInfo, Transport, TransportMode
from routerd_transport_vxlan.config import VxlanTunnel
from routerd_transport_vxlan.transport import VxlanTransport


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is; the name is that of the entry point."""
    return PluginInfo(name="transport_vxlan", api=(1, 0), summary="VXLAN (RFC 7348) between two routers")


@routerd.hookimpl
def routerd_transports() -> Sequence[TransportMode]:
    """Describe the transport; its name is the `mode` of a tunnel."""
    return [TransportMode(kind="vxlan", create=create, tunnel=VxlanTunnel)]


def create(context: PluginContext, options: object) -> Transport:
    """Make the transport; the plugin itself has no options."""
    if not isinstance(options, NoOptions):
        raise PluginError(f"{context.plugin}: has no options of its own, got {type(options).__name__}")
    return VxlanTransport(context)
