"""`routerd enroll approve NAME`: let a claim join that waits for approval."""

from __future__ import annotations

import click

from routerd.cli.enroll.decide import decide
from routerd.cli.settings import Settings, with_settings


@click.command("approve")
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the log.")
@with_settings
def command(settings: Settings, *, name: str, reason: str) -> None:
    """Approve the leaf of a pending claim; later renewals of the same leaf need no approval.

    Look at it first: routerd enroll show NAME.
    """
    decide(settings, "approve", name, reason)
