"""`routerd actions undo NUMBER`: restore the value before a change of a cloud."""

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.model.report.actions import ActionUndo

DEADLINE = 900.0
"""Seconds to wait: a pass over a slow cloud that has begun finishes first."""


@click.command("undo")
@click.argument("number", type=click.IntRange(1, (1 << 63) - 1))
@with_output
@with_settings
def command(settings: Settings, *, number: int, output: Output) -> None:
    """Restore exactly what was there before the change NUMBER, and leave it alone from then on.

    routerd undoes only the latest change of a key, and only while the cloud is as that change left
    it. It does not make the change again, not even in mode auto, until `routerd actions approve`
    releases it.
    """
    answer = ask(settings, "/v1/actions/undo", ActionUndo, "POST", body={"number": number}, deadline=DEADLINE)
    if output.wrote(answer):
        return
    click.echo(f"undone {number}: {answer.text} (change {answer.number})")
    if answer.held:
        click.echo("routerd will leave it alone; to release it, approve its id from `routerd actions list`")
