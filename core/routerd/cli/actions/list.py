"""`routerd actions list`: what waits, and what was changed lately."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlencode

import click
from rich.text import Text

from routerd.cli.actions.book import look
from routerd.cli.actions.words import items, name, standing, word
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console, table
from routerd.clouds.action_list import listed
from routerd.control.client import Document
from routerd.control.ports import ACTIONS_LIMIT, ACTIONS_MOST


@click.command("list")
@click.option("--profile", metavar="NAME", help="Only what concerns this CloudProviderProfile.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, ACTIONS_MOST),
    default=ACTIONS_LIMIT,
    show_default=True,
    help="How many of the latest changes.",
)
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@with_settings
def command(settings: Settings, *, profile: str | None, limit: int, as_document: bool) -> None:
    """List the changes of clouds that are not made yet, and the latest that were made.

    A change in the first part has an id for show and approve, one in the second a number for show
    and undo.
    """
    query = {"limit": str(limit), **({"profile": profile} if profile else {})}
    document = look(
        settings,
        f"/v1/actions?{urlencode(query)}",
        lambda journal: listed(journal, profile=profile, limit=limit),
    )
    if as_document:
        click.echo(as_json(document))
        return
    terminal = console()
    for note in cast("list[str]", document.get("notes") or []):
        terminal.print(Text(f"note: {note}"))
    waiting, made = items(document, "open"), items(document, "journal")
    if waiting:
        terminal.print(
            table("Not made", ("ID", "PROFILE", "CHANGE", "STANDING", "SINCE"), map(_row, waiting))
        )
    if any(each["state"] in {"waiting", "held"} for each in waiting):
        terminal.print(Text("  routerd actions approve ID lets a change be made", style="dim"))
    if made:
        if waiting:
            terminal.print()
        columns = ("NUMBER", "PROFILE", "CHANGE", "STANDING", "WHEN")
        terminal.print(table("Latest changes", columns, map(_row, made)))
    if not waiting and not made:
        terminal.print("nothing waits, and nothing was changed in a cloud yet")


def _row(action: Document) -> tuple[object, ...]:
    return name(action), word(action, "profile"), word(action, "text"), standing(action), word(action, "when")
