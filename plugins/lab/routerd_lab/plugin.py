"""The lab as a plugin: it adds the command group `routerd lab` and nothing to the daemon."""

from collections.abc import Sequence

import click

from routerd import hookimpl
from routerd.spi import PluginInfo


@hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Return who we are."""
    return PluginInfo(
        name="lab", api=(1, 0), summary="a whole fabric in network namespaces, with emulated clouds"
    )


@hookimpl
def routerd_commands() -> Sequence[click.Command]:
    """Return `lab`; its modules are imported only when the command line is built."""
    from routerd_lab.cli import lab  # noqa: PLC0415 - an import of this module must stay cheap

    return (lab,)
