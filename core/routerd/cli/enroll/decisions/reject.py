"""`routerd enroll reject NAME`: refuse a claim that waits for approval."""

import click

from routerd.cli.enroll.decisions.decide import decide
from routerd.cli.share.settings import Settings, with_settings


@click.command("reject")
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why; the leaf is told, and it stands in the log.")
@with_settings
def command(settings: Settings, *, name: str, reason: str) -> None:
    """Refuse a claim that waits for approval, now and whenever it asks again; approve undoes it."""
    decide(settings, "reject", name, reason)
