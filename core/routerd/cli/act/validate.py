"""`routerd validate`: whether a file is right, with these plugins."""

import sys

import click

from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.errors import ConfigError
from routerd.model.report.checks import Validation
from routerd.runtime import secret_files


@click.command("validate")
@with_output
@with_settings
def command(settings: Settings, *, output: Output) -> None:
    """Check a configuration file and everything that it needs; change nothing.

    Where the state directory exists, the files of secrets must exist, too.

    Exit status 0: the file is valid, 2: it is not.
    """
    try:
        prepared = settings.call(settings.command.prepare)
        on_host = secret_files.problems(prepared, missing=settings.state_dir.exists())
        secret_files.refuse(on_host)
    except ConfigError as error:
        problems = tuple(map(str, error.problems))
        if not output.wrote(Validation(file=str(settings.config), valid=False, problems=problems)):
            raise
        sys.exit(2)
    configuration = prepared.configuration
    found = Validation(
        file=configuration.file,
        valid=True,
        node=configuration.node,
        resources=len(configuration.resources),
        kinds=len({resource.id.kind for resource in configuration.resources}),
        plugins=tuple(plugin.info.name for plugin in prepared.host.plugins),
        warnings=tuple(map(str, (*configuration.warnings, *on_host))),
    )
    if output.wrote(found):
        return
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    plugins = ", ".join(found.plugins) or "no plugins"
    click.echo(
        f"{found.file}: valid: router {found.node}, {found.resources} resources of {found.kinds} kinds, "
        f"{plugins}"
    )
