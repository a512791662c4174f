"""`routerd explain ADDRESS`: why an address goes where it goes, and whether it gets there."""

from __future__ import annotations

import sys
from typing import cast
from urllib.parse import quote

import click
from rich.text import Text

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console, table
from routerd.control.client import Document
from routerd.model.claim import prefix

_MARKS = {"ok": ("ok", "green"), "bad": ("BAD", "red"), "note": ("-", "dim")}


@click.command("explain")
@click.argument("address")
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@with_settings
def command(settings: Settings, *, address: str, as_document: bool) -> None:
    """Show step by step where packets to ADDRESS go: claim, BGP, kernel, tunnel, cloud.

    Exit status 0: the address is reachable as far as this router knows, 1: not, 2: it is no address.
    """
    try:
        target = prefix(address.strip())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ADDRESS") from error
    found = ask(settings, f"/v1/explain?address={quote(str(target), safe='')}")
    if as_document:
        click.echo(as_json(found))
    else:
        steps = cast("list[Document]", found["steps"])
        terminal = console()
        rows = [(each["title"], _mark(str(each["state"])), each["text"]) for each in steps]
        terminal.print(table("", ("STEP", "", "WHAT IS KNOWN"), rows))
        terminal.print()
        terminal.print(Text(str(found["verdict"]), style="green" if found["reachable"] else "red"))
    if not found["reachable"]:
        sys.exit(1)


def _mark(state: str) -> Text:
    word, style = _MARKS.get(state, (state, ""))
    return Text(word, style=style)
