"""The plugin's hooks: the subsystem `fabric_policy`, and the command `routerd verify`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import routerd
from routerd.spi import NoOptions, PluginContext, PluginInfo, Subsystem, SubsystemTable, SubsystemType
from routerd_fabric_policy.check import check
from routerd_fabric_policy.derive import derive
from routerd_fabric_policy.kinds import FABRIC_POLICY
from routerd_fabric_policy.subsystem import FabricPolicySubsystem, explain

if TYPE_CHECKING:
    import click


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Return the plugin's identity."""
    return PluginInfo(
        name="fabric_policy",
        api=(1, 0),
        summary="a packet filter between the sites of a fabric, with tests in the file",
    )


@routerd.hookimpl
def routerd_subsystems() -> Sequence[SubsystemType]:
    """Describe the one subsystem. Its rules come before the tunnels whose packets they judge."""
    return [
        SubsystemType(
            kind="fabric_policy",
            create=create,
            kinds=(FABRIC_POLICY,),
            tables=(
                SubsystemTable(name="rules", after="firewall"),
                SubsystemTable(name="tests", after="firewall"),
            ),
            derive=derive,
            check=check,
            explain=explain,
        )
    ]


@routerd.hookimpl
def routerd_commands() -> Sequence["click.Command"]:
    """Return `routerd verify`."""
    from routerd_fabric_policy.command import verify  # noqa: PLC0415 - a daemon needs no command line

    return [verify]


def create(context: PluginContext, _: NoOptions) -> Subsystem:
    """Make the provider."""
    return FabricPolicySubsystem(context)
