"""The plugin `transport_wireguard` as `renamed_wireguard`."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from renamed_parts import NAMES, renamed_transport
from routerd import hookimpl
from routerd.spi import PluginInfo, TransportMode
from routerd_transport_wireguard import plugin as original


@hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Return the other name."""
    return attrs.evolve(original.routerd_plugin_info(), name="renamed_wireguard")


@hookimpl
def routerd_transports() -> Sequence[TransportMode]:
    """Return the modes that have another name."""
    return [renamed_transport(each) for each in original.routerd_transports() if each.kind in NAMES]
