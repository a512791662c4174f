"""`routerd actions undo NUMBER`: put back what was there before a change of a cloud."""

from __future__ import annotations

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json

DEADLINE = 900.0
"""Seconds to wait: a pass over a slow cloud that has begun is let finish first."""


@click.command("undo")
@click.argument("number", type=click.IntRange(1, (1 << 63) - 1))
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@with_settings
def command(settings: Settings, *, number: int, as_document: bool) -> None:
    """Put back exactly what was there before the change NUMBER, and leave it so.

    Only if everything is still as that change made it, and nothing was changed there since.
    routerd does not make it again, in mode auto either, until `routerd actions approve` allows it.
    """
    answer = ask(settings, "/v1/actions/undo", "POST", body={"number": number}, deadline=DEADLINE)
    if as_document:
        click.echo(as_json(answer))
        return
    click.echo(f"undone {number}: {answer['text']} (change {answer['number']})")
    if answer["held"]:
        click.echo("it is held so; routerd actions list shows the id that releases it")
