"""`routerd actions list`: changes that wait, and the latest that were made."""

from urllib.parse import urlencode

import click
from rich.text import Text

from routerd.cli.actions.book import look
from routerd.cli.actions.words import name, standing
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.clouds.action_list import listed
from routerd.control.ports import ACTIONS_LIMIT, ACTIONS_MOST
from routerd.model.report.actions import ActionList, MadeAction, OpenAction


@click.command("list")
@click.option("--profile", metavar="NAME", help="Show only changes of this CloudProviderProfile.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, ACTIONS_MOST),
    default=ACTIONS_LIMIT,
    show_default=True,
    help="Number of latest changes to show.",
)
@with_output
@with_settings
def command(settings: Settings, *, profile: str | None, limit: int, output: Output) -> None:
    """List the changes of clouds that routerd has not made yet, and the latest that it made.

    A change in the first part has an id for show and approve, one in the second a number for show
    and undo.
    """
    query = {"limit": str(limit), **({"profile": profile} if profile else {})}
    found = look(
        settings,
        f"/v1/actions?{urlencode(query)}",
        ActionList,
        lambda journal: listed(journal, profile=profile, limit=limit),
    )
    if output.wrote(found):
        return
    terminal = console()
    for note in found.notes:
        terminal.print(Text(f"note: {note}"))
    if found.open:
        terminal.print(
            table("Not made", ("ID", "PROFILE", "CHANGE", "STATE", "SINCE"), map(_row, found.open))
        )
    if any(each.state in {"waiting", "held"} for each in found.open):
        terminal.print(Text("  to let a change be made: routerd actions approve ID", style="dim"))
    if found.journal:
        if found.open:
            terminal.print()
        columns = ("NUMBER", "PROFILE", "CHANGE", "STATE", "WHEN")
        terminal.print(table("Latest changes", columns, map(_row, found.journal)))
    if not found.open and not found.journal:
        terminal.print("no change waits, and routerd has not changed a cloud yet")


def _row(action: OpenAction | MadeAction) -> tuple[object, ...]:
    return name(action), action.profile, action.text, standing(action), action.when
