"""`routerd enroll approve NAME`: let a claim join."""

import click

from routerd.cli.enroll.decisions.decide import decide
from routerd.cli.share.settings import Settings, with_settings


@click.command("approve")
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the log.")
@with_settings
def command(settings: Settings, *, name: str, reason: str) -> None:
    """Let a claim join that waits for approval, was rejected, or whose leaf was revoked.

    Look at it first: routerd enroll show NAME. Its renewals then need no approval; a claim of the
    same leaf that asks for something else does.
    """
    decide(settings, "approve", name, reason)
