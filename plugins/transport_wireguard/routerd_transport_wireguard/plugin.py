"""The plugin's hooks: it offers the transport mode `wireguard`."""

from collections.abc import Sequence

import routerd
from routerd.spi import Capability, PluginContext, PluginInfo, Transport, TransportMode
from routerd_transport_wireguard.config import WireGuardOptions


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Return the plugin's identity."""
    return PluginInfo(
        name="transport_wireguard",
        api=(1, 0),
        summary="WireGuard, in the kernel or by wireguard-go",
        config=WireGuardOptions,
    )


@routerd.hookimpl
def routerd_transports() -> Sequence[TransportMode]:
    """Describe the one mode."""
    capabilities = frozenset({Capability.ENCRYPTS, Capability.USERSPACE})
    return [
        TransportMode(kind="wireguard", create=create, options=WireGuardOptions, capabilities=capabilities)
    ]


def create(context: PluginContext, options: WireGuardOptions) -> Transport:
    """Make the transport; import its libraries only now."""
    from routerd_transport_wireguard.transport import WireGuardTransport  # noqa: PLC0415 - they take a while

    return WireGuardTransport(context, options)
