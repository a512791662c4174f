"""`routerd actions approve ID...`: let changes of a cloud be made."""

from __future__ import annotations

import click

from routerd.cli.actions.words import items
from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json
from routerd.control.client import Document


@click.command("approve")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="Approve everything that waits for approval now.")
@click.option("--profile", metavar="NAME", help="With --all: only of this CloudProviderProfile.")
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@with_settings
def command(
    settings: Settings, *, ids: tuple[str, ...], every: bool, profile: str | None, as_document: bool
) -> None:
    """Let changes be made that wait for approval, once, and release what is held after an undo.

    An approval covers exactly the change that was shown: when something else is to be made by then,
    it waits with another id. --all leaves out what is held.
    """
    if bool(ids) == every:
        raise click.UsageError("give the ids of changes, or --all")
    if profile is not None and not every:
        raise click.UsageError("--profile goes with --all")
    body: Document = {"ids": list(ids), "all": every, "profile": profile}
    answer = ask(settings, "/v1/actions/approve", "POST", body=body)
    if as_document:
        click.echo(as_json(answer))
        return
    approved, released = items(answer, "approved"), items(answer, "released")
    for each in approved:
        click.echo(f"approved {each['id']}: {each['text']}")
    for each in released:
        click.echo(f"released {each['id']}: {each['text']}")
    if not approved and not released:
        click.echo("nothing waits for approval" if every else "approved already")
