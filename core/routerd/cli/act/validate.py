"""`routerd validate`: whether a file is right, with these plugins."""

from __future__ import annotations

import click

from routerd.cli.share.settings import Settings, with_settings


@click.command("validate")
@with_settings
def command(settings: Settings) -> None:
    """Check a configuration file and everything that it needs; touch nothing."""
    prepared = settings.command.prepare()
    configuration = prepared.configuration
    for warning in configuration.warnings:
        click.echo(f"warning: {warning}", err=True)
    kinds = len({resource.id.kind for resource in configuration.resources})
    plugins = ", ".join(plugin.info.name for plugin in prepared.host.plugins) or "no plugins"
    click.echo(
        f"{configuration.file}: valid: router {configuration.node}, "
        f"{len(configuration.resources)} resources of {kinds} kinds, {plugins}"
    )
