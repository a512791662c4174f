"""`routerd actions show ID`: one change of a cloud, its story, and what undoing it would do."""

from __future__ import annotations

from typing import cast
from urllib.parse import quote

import click
from rich.text import Text

from routerd.cli.actions.book import look
from routerd.cli.actions.words import details, items, name, standing, word
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console, table
from routerd.clouds.action_list import shown
from routerd.control.client import Document


@click.command("show")
@click.argument("action", metavar="ID")
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@with_settings
def command(settings: Settings, *, action: str, as_document: bool) -> None:
    """Show one change: its id from the first part of list, or its number from the second."""
    document = look(settings, f"/v1/actions/{quote(action, safe='')}", lambda journal: shown(journal, action))
    if as_document:
        click.echo(as_json(document))
        return
    terminal = console()
    for note in cast("list[str]", document.get("notes") or []):
        terminal.print(Text(f"note: {note}"))
    found = cast("Document", document["action"])
    terminal.print(Text.assemble((name(found), "bold"), "  ", standing(found)))
    for label, value in details(found):
        terminal.print(Text(f"  {label:<15}{value}"))
    undo = cast("Document | None", document["undo"])
    if undo is not None:
        label = "undo" if undo["possible"] else "no undo"
        terminal.print(Text(f"  {label:<15}{undo['text']}"))
    history = items(document, "history")
    if history:
        terminal.print()
        rows = [(name(each), word(each, "text"), standing(each), word(each, "when")) for each in history]
        terminal.print(table("What was done to it", ("NUMBER", "CHANGE", "STANDING", "WHEN"), rows))
