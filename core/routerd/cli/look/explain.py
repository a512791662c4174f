"""`routerd explain ADDRESS`: why an address goes where it goes, and whether it gets there."""

import sys
from urllib.parse import quote

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.model.claim import prefix
from routerd.model.report.explanation import Explanation

_MARKS = {"ok": ("ok", "green"), "bad": ("BAD", "red"), "note": ("-", "dim")}


@click.command("explain")
@click.argument("address")
@with_output
@with_settings
def command(settings: Settings, *, address: str, output: Output) -> None:
    """Show step by step where packets to ADDRESS go: claim, BGP, kernel, tunnel, cloud.

    Exit status 0: the address is reachable as far as this router knows, 1: it is not, 2: ADDRESS is
    not an address.
    """
    try:
        target = prefix(address.strip())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ADDRESS") from error
    found = ask(settings, f"/v1/explain?address={quote(str(target), safe='')}", Explanation)
    if not output.wrote(found):
        from rich.text import Text  # noqa: PLC0415 - only for the table

        terminal = console()
        rows = [(each.title, Text(*_MARKS[each.state]), each.text) for each in found.steps]
        terminal.print(table("", ("STEP", "", "WHAT IS KNOWN"), rows))
        terminal.print()
        terminal.print(Text(found.verdict, style="green" if found.reachable else "red"))
    if not found.reachable:
        sys.exit(1)
