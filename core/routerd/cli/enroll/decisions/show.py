"""`routerd enroll show NAME`: one claim, and what was decided about it."""

from urllib.parse import quote

import click
from rich.console import Console
from rich.text import Text

from routerd.cli.enroll.decisions.claim_view import details
from routerd.cli.enroll.decisions.log import line
from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import cell, console
from routerd.model.names import Ref
from routerd.model.report.claims import ClaimReport, DecisionList
from routerd.process.clock import SystemClock

LATEST = 10


@click.command("show")
@click.argument("name")
@with_output
@with_settings
def command(settings: Settings, *, name: str, output: Output) -> None:
    """Show one claim: what it asks for, what became of it, and what was decided lately."""
    wanted = quote(Ref.parse(name).name, safe="")
    claim = ask(settings, f"/v1/claims/{wanted}", ClaimReport)
    if output.wrote(claim):
        return
    terminal = console()
    _describe(terminal, claim)
    if claim.waiting is not None:
        terminal.print(Text("\nA change of it that waits", style="bold"))
        _describe(terminal, claim.waiting)
    entries = ask(settings, f"/v1/enrollment-log?limit={LATEST}&claim={wanted}", DecisionList).items
    if entries:
        terminal.print(Text("\nDecisions", style="bold"))
    for entry in entries:
        terminal.print(Text(f"  {line(entry)}"))


def _describe(terminal: Console, claim: ClaimReport) -> None:
    terminal.print(Text.assemble((claim.name, "bold"), "  ", cell(claim.status.phase)))
    for label, value in details(claim, SystemClock().now()):
        terminal.print(Text(f"  {label:<20}{value}"))
