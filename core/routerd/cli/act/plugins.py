"""`routerd plugins`: what is installed, what is enabled, and what each provides."""

import click

from routerd import config
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.errors import ConfigError, PluginError
from routerd.model.report.checks import PluginList, PluginReport
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import InstalledPlugin, installation
from routerd.plugins.loading import LoadedPlugin
from routerd.spi import API_VERSION


@click.command("plugins")
@with_output
@click.option("--all", "load_all", is_flag=True, help="Also load plugins that are not enabled, to ask them.")
@with_settings
def command(settings: Settings, *, output: Output, load_all: bool) -> None:
    """List plugins: installed, enabled, the API each was written for, what each provides.

    routerd loads only enabled plugins, because loading runs their code; `--all` loads the others too.
    """
    host, faults = PluginHost.attempt(_enabled(settings))
    loaded = {plugin.info.name: plugin for plugin in host.plugins}
    broken = {fault.plugin: fault.text for fault in faults if fault.plugin}
    found = installation()
    for fault in faults:
        if fault.plugin not in found.plugins:
            click.echo(f"warning: {fault.text}", err=True)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    plugins = [
        _report(name, installed, loaded.get(name), load=load_all, fault=broken.get(name, ""))
        for name, candidates in sorted(found.plugins.items())
        for installed in candidates
    ]
    if output.wrote(PluginList(api=_dotted(API_VERSION), plugins=tuple(plugins))):
        return
    rows = [
        (each.name, each.distribution, each.enabled, each.api, each.fault or "; ".join(each.provides))
        for each in plugins
    ]
    console().print(table("", ("PLUGIN", "DISTRIBUTION", "ENABLED", "API", "PROVIDES"), rows))


def _report(
    name: str, installed: InstalledPlugin, plugin: LoadedPlugin | None, *, load: bool, fault: str
) -> PluginReport:
    enabled = plugin is not None or bool(fault)
    if plugin is None and load and not fault:
        try:
            plugin = PluginHost.load([name]).plugins[0]
        except PluginError as error:
            fault = str(error)
    return PluginReport(
        name=name,
        distribution=f"{installed.distribution} {installed.version}",
        enabled=enabled,
        api=_dotted(plugin.info.api) if plugin is not None else None,
        summary=plugin.info.summary if plugin is not None else "",
        provides=_provides(plugin) if plugin is not None else (),
        fault=fault,
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _enabled(settings: Settings) -> tuple[str, ...]:
    if settings.plugins is not None:
        return settings.plugins
    if not settings.config.exists():
        return ()
    try:
        return config.plugin_names(config.read_document(settings.config)) or ()
    except ConfigError as error:
        raise PluginError(f"the list of plugins cannot be read: {error}") from error


def _provides(plugin: LoadedPlugin) -> tuple[str, ...]:
    families = {"transport": plugin.transports, "routing": plugin.routings,
                "join method": plugin.enrollments, "cloud": plugin.fabrics}  # fmt: skip
    return (
        *(f"{family} {provider.kind}" for family, providers in families.items() for provider in providers),
        *(f"kind {kind.kind}" for kind in plugin.resource_kinds),
        *(f"command {command.name}" for command in plugin.commands),
        *(f"route {route.method} {route.path}" for route in plugin.control_routes),
    )
