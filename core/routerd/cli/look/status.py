"""`routerd status`: is the router ready, and if not, why."""

import sys
import time

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console
from routerd.errors import ControlError
from routerd.model.report.status import Status

WATCH_SECONDS = 1.0


@click.command("status")
@with_output
@click.option("--watch", is_flag=True, help="Show the status every second until interrupted.")
@with_settings
def command(settings: Settings, *, output: Output, watch: bool) -> None:
    """Show whether the router is ready, and its parts. Exit status 0: ready, 3: not ready, 1: no answer."""
    if watch and output.is_document:
        raise click.UsageError("--watch prints tables; leave out -o")
    if watch:
        _watch(settings)
        return
    status = ask(settings, "/v1/status", Status)
    if not output.wrote(status):
        from routerd.cli.look.status_tables import render  # noqa: PLC0415 - not for a document

        console().print(render(status))
    if status.phase != "Ready":
        sys.exit(3)


def _watch(settings: Settings) -> None:
    from rich.live import Live  # noqa: PLC0415 - only for --watch
    from rich.text import Text  # noqa: PLC0415 - only for --watch

    from routerd.cli.look.status_tables import render  # noqa: PLC0415 - only for --watch

    try:
        with Live(Text("asking ..."), console=console(), refresh_per_second=4, screen=False) as live:
            while True:
                try:
                    live.update(render(ask(settings, "/v1/status", Status)))
                except ControlError as error:
                    live.update(Text(str(error), style="red"))
                time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return
