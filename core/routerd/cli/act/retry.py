"""`routerd retry`: look at everything again, now."""

from __future__ import annotations

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings


@click.command("retry")
@with_settings
def command(settings: Settings) -> None:
    """Make the daemon forget its pauses and look at everything again at once.

    For after a permission was granted, or when somebody has changed something by hand.
    """
    ask(settings, "/v1/hurry", "POST")
    click.echo("looking at everything again")
