"""The plugin's hooks: it offers the transport modes `ipip`, `fou` and `gre`."""

from collections.abc import Sequence
from functools import partial

import routerd
from routerd.spi import Capability, PluginContext, PluginInfo, Transport, TransportMode
from routerd_transport_ipip.config import IpipOptions
from routerd_transport_ipip.fou import NetlinkFou
from routerd_transport_ipip.transport import IpipTransport

MODES = ("ipip", "fou", "gre")


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Return the plugin's identity."""
    return PluginInfo(
        name="transport_ipip",
        api=(1, 0),
        summary="IPv4 in IPv4 (RFC 2003), bare or in UDP, and in GRE (RFC 2784)",
        config=IpipOptions,
    )


@routerd.hookimpl
def routerd_transports() -> Sequence[TransportMode]:
    """Describe the modes."""
    return [
        TransportMode(
            kind=mode,
            create=partial(create, mode),
            options=IpipOptions,
            key="optional" if mode == "gre" else "never",
            encapsulation="required" if mode == "fou" else "never",
            capabilities=frozenset({Capability.USERSPACE}),
        )
        for mode in MODES
    ]


def create(mode: str, context: PluginContext, options: IpipOptions) -> Transport:
    """Make the transport of one mode."""
    return IpipTransport(mode, context, options, NetlinkFou())
