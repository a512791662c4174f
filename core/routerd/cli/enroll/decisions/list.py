"""`routerd enroll list`: the claims that a route reflector knows of."""

from __future__ import annotations

from typing import Any, cast

import click

from routerd.cli.enroll.decisions.claim_view import (
    PHASES,
    leaf_of,
    name_of,
    part,
    phase_of,
    policy_of,
    why_of,
    word,
)
from routerd.cli.share import times
from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console, table
from routerd.control.client import Document

COLUMNS = ("NAME", "STATE", "LEAF", "POLICY", "CAME FROM", "SINCE", "ENDS", "REASON")


@click.command("list")
@click.option(
    "--state",
    type=click.Choice(PHASES, case_sensitive=False),
    help="Only claims in this state, such as those that wait for approval: --state Pending.",
)
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@with_settings
def command(settings: Settings, *, state: str | None, as_document: bool) -> None:
    """List the claims that this route reflector knows of, whatever became of them."""
    items = cast("list[Document]", ask(settings, "/v1/claims")["items"])
    found = [each for each in items if state in (None, phase_of(each))]
    if as_document:
        click.echo(as_json(cast("Any", found)))
    elif not found:
        click.echo(f"no claim is {state}" if state else "no claims")
    else:
        console().print(table("", COLUMNS, [_row(each) for each in found]))


def _row(claim: Document) -> tuple[str, ...]:
    status = part(claim, "status")
    return (
        name_of(claim),
        phase_of(claim),
        leaf_of(claim),
        policy_of(claim),
        word(status, "source"),
        times.text(status.get("firstSeen") or status.get("admittedAt")),
        times.text(status.get("expiresAt")),
        why_of(claim),
    )
