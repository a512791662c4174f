"""`routerd metrics`: the state of the router, for Prometheus."""

import click

from routerd.cli.share.ask import ask_text
from routerd.cli.share.settings import Settings, with_settings


@click.command("metrics")
@with_settings
def command(settings: Settings) -> None:
    """Print metrics in the text format of Prometheus, such as for node_exporter's textfile collector."""
    click.echo(ask_text(settings, "/v1/metrics"), nl=False)
