"""`routerd plugins`: what is installed, what is enabled, and what each provides."""

from __future__ import annotations

from typing import cast

import click

from routerd import config
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console, table
from routerd.errors import ConfigError, PluginError
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import installation
from routerd.plugins.loading import LoadedPlugin
from routerd.spi import API_VERSION, JSONValue


@click.command("plugins")
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@click.option("--all", "load_all", is_flag=True, help="Load plugins that are not enabled, too, to ask them.")
@with_settings
def command(settings: Settings, *, as_document: bool, load_all: bool) -> None:
    """List plugins: installed, enabled, the API each was written for, what each provides.

    Only enabled ones are loaded, because loading runs their code; `--all` asks the others as well.
    """
    loaded = {plugin.info.name: plugin for plugin in PluginHost.load(_enabled(settings)).plugins}
    found = installation()
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    rows: list[dict[str, JSONValue]] = []
    for name, candidates in sorted(found.plugins.items()):
        for installed in candidates:
            plugin, fault = loaded.get(name), ""
            enabled = plugin is not None
            if plugin is None and load_all:
                plugin, fault = _load(name)
            rows.append(
                {
                    "name": name,
                    "distribution": f"{installed.distribution} {installed.version}",
                    "enabled": enabled,
                    "api": ".".join(map(str, plugin.info.api)) if plugin is not None else None,
                    "summary": plugin.info.summary if plugin is not None else "",
                    "provides": _provides(plugin) if plugin is not None else [],
                    "fault": fault,
                }
            )
    if as_document:
        click.echo(as_json({"api": ".".join(map(str, API_VERSION)), "plugins": list(rows)}))
        return
    shown = [
        (row["name"], row["distribution"], "yes" if row["enabled"] else "no", row["api"],
         "; ".join(map(str, cast("list[JSONValue]", row["provides"]))) or row["fault"])
        for row in rows
    ]  # fmt: skip
    console().print(table("", ("PLUGIN", "DISTRIBUTION", "ENABLED", "API", "PROVIDES"), shown))


def _load(name: str) -> tuple[LoadedPlugin | None, str]:
    try:
        return PluginHost.load([name]).plugins[0], ""
    except PluginError as error:
        return None, str(error)


def _enabled(settings: Settings) -> tuple[str, ...]:
    if settings.plugins is not None:
        return settings.plugins
    if not settings.config.exists():
        return ()
    try:
        return config.plugin_names(config.read_document(settings.config)) or ()
    except ConfigError as error:
        raise PluginError(f"the list of plugins cannot be read: {error}") from error


def _provides(plugin: LoadedPlugin) -> list[JSONValue]:
    families = {"transport": plugin.transports, "routing": plugin.routings,
                "join method": plugin.enrollments, "cloud": plugin.fabrics}  # fmt: skip
    found: list[JSONValue] = [
        f"{family} {provider.kind}" for family, providers in families.items() for provider in providers
    ]
    found += [f"kind {kind.kind}" for kind in plugin.resource_kinds]
    found += [f"command {command.name}" for command in plugin.commands]
    found += [f"route {route.method} {route.path}" for route in plugin.control_routes]
    return found
