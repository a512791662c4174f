"""What the plugin describes."""

from __future__ import annotations

from collections.abc import Sequence

from routerd import hookimpl
from routerd.spi import PluginInfo, SubsystemTable, SubsystemType
from routerd_fabric_names import names
from routerd_fabric_names.subsystem import Names


@hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(
        name="fabric_names", api=(1, 0), summary="the leaves of a fabric by name, in a hosts file"
    )


@hookimpl
def routerd_subsystems() -> Sequence[SubsystemType]:
    """Describe the subsystem `names`; a name comes after the route to its address."""
    return [
        SubsystemType(
            kind="names",
            create=Names,
            kinds=(names.KIND,),
            tables=(SubsystemTable(name="lines", after="routes"),),
            derive=names.derive,
            check=names.check,
            explain=names.explain,
        )
    ]
