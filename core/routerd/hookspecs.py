"""THE contract: every hook that a plugin may implement. Read this file first.

A hook *describes* providers; it does no I/O and is synchronous. The daemon calls it once, when it starts
(`routerd plugins` calls it too). The providers' async methods do the work; their protocols are in
`routerd.spi`. The host calls the hooks of each plugin by itself, so it can name a plugin that raises and
still use the others.

A plugin is a distribution with one entry point::

    [project.entry-points."routerd.plugins.v1"]
    cloud_aws = "routerd_cloud_aws.plugin"

and a module with functions marked `@routerd.hookimpl`. It acts only when its name is on the
allow-list: `routerd --plugins cloud_aws,...` or `plugins:` in the configuration file.

Added in 1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import pluggy

if TYPE_CHECKING:
    import click

    from routerd.spi import (
        ControlRoute,
        Fabric,
        JoinMethod,
        PluginInfo,
        Provider,
        Routing,
        SubsystemType,
        TransportMode,
    )

PROJECT = "routerd"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


def _described() -> NoReturn:
    """End the body of a specification; pluggy reads its signature and never calls it."""
    raise AssertionError("a hook specification is never called")


# --- who the plugin is ---------------------------------------------------------------------------


@hookspec
def routerd_plugin_info() -> PluginInfo:
    """Return who the plugin is. Required, exactly one per plugin.

    The name must equal the entry point's. The core refuses a plugin written for a newer API and
    names both versions.
    """
    _described()


# --- what it provides ----------------------------------------------------------------------------


@hookspec
def routerd_transports() -> Sequence[TransportMode]:
    """Return the tunnel modes that the plugin offers; the provider's kind is the mode.

    A provider whose peers have keys also declares `Capability.ENCRYPTS`.
    """
    _described()


@hookspec
def routerd_routings() -> Sequence[Provider[Routing]]:
    """Return the routing protocols that the plugin speaks, such as `bgp`; several may be enabled at once.

    A provider that speaks BGP also declares `Capability.BGP`; at most one of these is enabled.
    """
    _described()


@hookspec
def routerd_enrollments() -> Sequence[JoinMethod]:
    """Return the ways in which a leaf can prove that it may join; the kind is the `joinMethod` of a file."""
    _described()


@hookspec
def routerd_fabrics() -> Sequence[Provider[Fabric]]:
    """Return the clouds whose forwarding the plugin sets; the kind is the `provider` of a profile."""
    _described()


@hookspec
def routerd_subsystems() -> Sequence[SubsystemType]:
    """Return everything else: kinds of resource that a file may then hold, and the tables that follow.

    A packet filter, a name server, VRRP: whatever can be read whole and changed by key.
    """
    _described()


# --- what it adds to the API and the command line ------------------------------------------------------


@hookspec
def routerd_control_routes() -> Sequence[ControlRoute]:
    """Return routes for the admin API; they appear below `/v1/plugins/<plugin>/`."""
    _described()


@hookspec
def routerd_commands() -> Sequence[click.Command]:
    """Return commands for the `routerd` command line; a name that exists already is an error.

    `routerd <name>` finds a command whose plugin is on the allow-list, whose name is the plugin's own, or
    that the distribution names in its entry points::

        [project.entry-points."routerd.provides.v1"]
        "command.verify" = "routerd_fabric_policy.plugin"
    """
    _described()
