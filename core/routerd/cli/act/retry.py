"""`routerd retry`: retry every failed change now."""

import click

from routerd.cli.share.ask import tell
from routerd.cli.share.settings import Settings, with_settings


@click.command("retry")
@with_settings
def command(settings: Settings) -> None:
    """Make the daemon drop its pauses, read every table and retry every change at once.

    Use it after granting a permission, or after changing something by hand.
    """
    tell(settings, "/v1/hurry")
    click.echo("reading every table again and retrying")
