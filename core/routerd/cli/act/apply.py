"""`routerd apply --once`: apply the file, then end."""

import sys

import click

from routerd.cli.share.settings import Settings, with_settings
from routerd.runtime.single_runs import apply_once


@click.command("apply")
@click.option("--once", is_flag=True, required=True, help="End when everything is as the file says.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    help="Seconds to wait before giving up with a list of what is missing.",
)
@with_settings
def command(settings: Settings, *, once: bool, timeout: float) -> None:
    """Apply the configuration once, without a daemon. Exit status 0: everything is as the file says."""
    why = settings.run(apply_once(settings.command, settings.log, deadline=timeout))
    for reason in why:
        click.echo(f"not ready: {reason}", err=True)
    if why:
        sys.exit(1)
    click.echo("everything is as the file says" if once else "")
