"""`routerd actions show ID`: one change of a cloud, its story, and what undoing it would do."""

from urllib.parse import quote

import click
from rich.text import Text

from routerd.cli.actions.book import look
from routerd.cli.actions.words import details, name, standing
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.clouds.action_list import shown
from routerd.model.report.actions import ActionDetails


@click.command("show")
@click.argument("action", metavar="ID")
@with_output
@with_settings
def command(settings: Settings, *, action: str, output: Output) -> None:
    """Show one change: its id from the first part of list, or its number from the second."""
    path = f"/v1/actions/{quote(action, safe='')}"
    document = look(settings, path, ActionDetails, lambda journal: shown(journal, action))
    if output.wrote(document):
        return
    terminal = console()
    for note in document.notes:
        terminal.print(Text(f"note: {note}"))
    found = document.action
    terminal.print(Text.assemble((name(found), "bold"), "  ", standing(found)))
    for label, value in details(found):
        terminal.print(Text(f"  {label:<15}{value}"))
    undo = document.undo
    if undo is not None:
        label = "undo" if undo.possible else "no undo"
        terminal.print(Text(f"  {label:<15}{undo.text}"))
    if document.history:
        terminal.print()
        rows = [(name(each), each.text, standing(each), each.when) for each in document.history]
        terminal.print(table("What was done to it", ("NUMBER", "CHANGE", "STATE", "WHEN"), rows))
