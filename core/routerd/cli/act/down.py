"""`routerd down`: remove routerd's objects from this host and from the cloud."""

import sys

import click

from routerd.cli.share.settings import Settings, with_settings
from routerd.runtime.single_runs import tear_down


@click.command("down")
@with_settings
def command(settings: Settings) -> None:
    """Remove what routerd made: sessions, routes, tunnels, rules; restore settings and clouds.

    Stop the daemon first. Admitted claims and the journal stay in the state directory.
    """
    removed = settings.run(tear_down(settings.command, settings.quiet_log()))
    for text in removed.done:
        click.echo(f"removed {text}")
    for text in removed.failed:
        click.echo(f"not removed: {text}", err=True)
    click.echo(f"{len(removed.done)} removed, {len(removed.failed)} failed")
    if removed.failed:
        sys.exit(1)
