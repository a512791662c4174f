"""`routerd reload`: the running daemon reads its file again."""

import click

from routerd.cli.share.ask import tell
from routerd.cli.share.settings import Settings, with_settings


@click.command("reload")
@with_settings
def command(settings: Settings) -> None:
    """Make the daemon read its file again. A file with a mistake changes nothing."""
    tell(settings, "/v1/reload")
    click.echo("reloaded")
