"""`routerd routes`: what was learned, and what became of it."""

from __future__ import annotations

from typing import Any, cast

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console, table
from routerd.control.client import Document


@click.command("routes")
@click.option("--rejected", is_flag=True, help="Show what neighbours announced and the policy refused.")
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@with_settings
def command(settings: Settings, *, rejected: bool, as_document: bool) -> None:
    """Show the routes that the routing has learned."""
    status = ask(settings, "/v1/status")
    routes = cast("list[Document]", status["rejected" if rejected else "routes"])
    if as_document:
        click.echo(as_json(cast("Any", routes)))
    elif rejected:
        rows = [(r["prefix"], r["neighbour"], r["reason"]) for r in routes]
        console().print(table("", ("PREFIX", "NEIGHBOUR", "REASON"), rows))
    else:
        console().print(
            table(
                "",
                ("PREFIX", "NEXT HOP", "NEIGHBOUR", "LOCAL PREF", "BEST", "INSTALLED", "NOTE"),
                [
                    (r["prefix"], r["nextHop"], r["neighbour"], r["localPreference"], _yes(r["best"]),
                     _yes(r["installed"]), "stale: its session is lost" if r["stale"] else "")
                    for r in routes
                ],
            )
        )  # fmt: skip


def _yes(value: object) -> str:
    return "yes" if value else "no"
