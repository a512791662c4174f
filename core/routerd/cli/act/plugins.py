"""`routerd plugins`: what is installed, what is enabled, and what each provides."""

import re
import typing
from collections.abc import Iterator, Sequence
from functools import partial

import attrs
import click

from routerd import config
from routerd.cli.share.lazy import Commands, lazy_group
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.errors import ConfigError, PluginError
from routerd.model.report.checks import PluginList, PluginOption, PluginReport
from routerd.model.specs.keys import fields_of
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import InstalledPlugin, installation
from routerd.plugins.loading import LoadedPlugin
from routerd.spi import API_VERSION, NoOptions

COMMANDS: Commands = {
    "new": ("plugins_new", "Write a project for a plugin: its package, its README, and tests that pass."),
    "check": ("plugins_check", "Measure an installed plugin: its grade, and what it lacks for each one."),
}


@click.group(
    "plugins",
    cls=lazy_group(__package__, COMMANDS),
    invoke_without_command=True,
    short_help="List plugins: installed, enabled, the API each was written for, what each provides.",
)
@with_output
@click.option("--all", "load_all", is_flag=True, help="Also load plugins that are not enabled, to ask them.")
@with_settings
def command(settings: Settings, *, output: Output, load_all: bool) -> None:
    """List plugins: installed, enabled, the API each was written for, what each provides.

    routerd loads only enabled plugins, because loading runs their code; `--all` loads the others too. Of
    a loaded plugin the list has the options, with their types. The exit status is 0 also when a plugin is
    broken; its row says why.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    plugins, warnings = settings.call(partial(_reports, _enabled(settings), load=load_all))
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if not output.wrote(PluginList(api=_dotted(API_VERSION), plugins=tuple(plugins))):
        _show(plugins)


def _reports(enabled: Sequence[str], *, load: bool) -> tuple[list[PluginReport], list[str]]:
    """Return a row for each installed plugin, and what is wrong without one."""
    host, faults = PluginHost.attempt(enabled)
    loaded = {plugin.info.name: plugin for plugin in host.plugins}
    broken = {fault.plugin: fault.text for fault in faults if fault.plugin}
    found = installation()
    warnings = [fault.text for fault in faults if fault.plugin not in found.plugins]
    plugins = [
        _report(name, installed, loaded.get(name), load=load, fault=broken.get(name, ""))
        for name, candidates in sorted(found.plugins.items())
        for installed in candidates
    ]
    return plugins, [*warnings, *found.warnings]


def _show(plugins: list[PluginReport]) -> None:
    columns = ("PLUGIN", "DISTRIBUTION", "ENABLED", "API", "PROVIDES", "CAPABILITIES", "SUMMARY")
    rows = [
        (
            each.name, each.distribution, each.enabled, each.api, each.fault or "; ".join(each.provides),
            ", ".join(each.capabilities), each.summary,
        )
        for each in plugins
    ]  # fmt: skip
    terminal = console()
    terminal.print(table("", columns, rows))
    options = [
        (each.name, option.of, option.name, option.type, "required" if option.required else option.default)
        for each in plugins
        for option in each.options
    ]
    if options:
        terminal.print()
        terminal.print(table("Options", ("PLUGIN", "OF", "OPTION", "TYPE", "DEFAULT"), options))


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
        capabilities=_capabilities(plugin) if plugin is not None else (),
        options=tuple(_options(plugin)) if plugin is not None else (),
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


def _capabilities(plugin: LoadedPlugin) -> tuple[str, ...]:
    providers = (*plugin.transports, *plugin.routings, *plugin.enrollments, *plugin.fabrics)
    return tuple(sorted({each.value for provider in providers for each in provider.capabilities}))


def _options(plugin: LoadedPlugin) -> Iterator[PluginOption]:
    """Yield what a file can say to the plugin, by the place where it says so."""
    yield from _fields("the plugin", plugin.info.config)
    for mode in plugin.transports:
        yield from _fields(f"a tunnel of mode {mode.kind}", mode.tunnel)
    for method in plugin.enrollments:
        yield from _fields(f"a policy with {method.kind}", method.policy)
        yield from _fields(f"a client with {method.kind}", method.client)
    for fabric in plugin.fabrics:
        yield from _fields(f"a profile of {fabric.kind}", fabric.options)


def _fields(of: str, options: type[object]) -> Iterator[PluginOption]:
    if options is NoOptions:
        return
    for key, (field, kind) in fields_of(options).items():  # type: ignore[arg-type]  # a class is hashable
        required = field.default is attrs.NOTHING
        factory = getattr(field.default, "factory", None)
        default = "" if required or factory is not None or not field.repr else str(field.default)
        yield PluginOption(of=of, name=key, type=_type(kind), required=required, default=default)


def _type(kind: object) -> str:
    """Return a type in the words of Python without the names of modules: `tuple[str, ...]`."""
    if typing.get_args(kind):
        return re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(kind))
    return getattr(kind, "__name__", str(kind))
