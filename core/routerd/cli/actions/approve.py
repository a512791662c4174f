"""`routerd actions approve ID...`: let changes of a cloud be made."""

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.control.client import Document
from routerd.model.report.actions import ActionApproval


@click.command("approve")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="Approve every change that waits for approval now.")
@click.option("--profile", metavar="NAME", help="With --all: only of this CloudProviderProfile.")
@with_output
@with_settings
def command(
    settings: Settings, *, ids: tuple[str, ...], every: bool, profile: str | None, output: Output
) -> None:
    """Let the changes IDS be made, once, and release keys that are held after an undo.

    An approval covers exactly the change that was shown: a change that differs waits with another
    id. --all leaves out held keys.
    """
    if bool(ids) == every:
        raise click.UsageError("give the ids of changes, or --all")
    if profile is not None and not every:
        raise click.UsageError("--profile goes with --all")
    body: Document = {"ids": list(ids), "all": every, "profile": profile}
    answer = ask(settings, "/v1/actions/approve", ActionApproval, "POST", body=body)
    if output.wrote(answer):
        return
    for each in answer.approved:
        click.echo(f"approved {each.id}: {each.text}")
    for each in answer.released:
        click.echo(f"released {each.id}: {each.text}")
    if not answer.approved and not answer.released:
        click.echo("no change waits for approval" if every else "already approved")
