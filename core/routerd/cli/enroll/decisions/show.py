"""`routerd enroll show NAME`: one claim, and what was decided about it."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import quote

import click
from rich.console import Console
from rich.text import Text

from routerd.cli.enroll.decisions.claim_view import details, name_of, part, phase_of
from routerd.cli.enroll.decisions.log import line
from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, cell, console
from routerd.control.client import Document
from routerd.model.claim import bare_name
from routerd.process.clock import SystemClock

LATEST = 10


@click.command("show")
@click.argument("name")
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@with_settings
def command(settings: Settings, *, name: str, as_document: bool) -> None:
    """Show one claim: what it asks for, what became of it, and what was decided lately."""
    wanted = quote(bare_name(name), safe="")
    claim = ask(settings, f"/v1/claims/{wanted}")
    if as_document:
        click.echo(as_json(cast("Any", claim)))
        return
    terminal = console()
    _describe(terminal, claim)
    waiting = part(claim, "waiting")
    if waiting:
        terminal.print(Text("\nA change of it that waits", style="bold"))
        _describe(terminal, waiting)
    answer = ask(settings, f"/v1/enrollment-log?limit={LATEST}&claim={wanted}")
    entries = cast("list[Document]", answer["items"])
    if entries:
        terminal.print(Text("\nDecisions", style="bold"))
    for entry in entries:
        terminal.print(Text(f"  {line(entry)}"))


def _describe(terminal: Console, claim: Document) -> None:
    terminal.print(Text.assemble((name_of(claim), "bold"), "  ", cell(phase_of(claim))))
    for label, value in details(claim, SystemClock().now()):
        terminal.print(Text(f"  {label:<20}{value}"))
