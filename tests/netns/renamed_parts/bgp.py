"""The plugin `bgp_ryu` as `renamed_bgp`."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from renamed_parts import NAMES
from routerd import hookimpl
from routerd.spi import PluginInfo, Provider, Routing
from routerd_bgp_ryu import plugin as original


@hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Return the other name."""
    return attrs.evolve(original.routerd_plugin_info(), name="renamed_bgp")


@hookimpl
def routerd_routings() -> Sequence[Provider[Routing]]:
    """Return the speaker of BGP under another name."""
    return [attrs.evolve(each, kind=NAMES[each.kind]) for each in original.routerd_routings()]
