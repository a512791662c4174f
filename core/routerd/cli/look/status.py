"""`routerd status`: is the router ready, and if not, why."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import cast

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, cell, console, table
from routerd.control.client import Document
from routerd.errors import ControlError

WATCH_SECONDS = 1.0


@click.command("status")
@click.option("--json", "as_document", is_flag=True, help="Print the whole status as JSON.")
@click.option("--watch", is_flag=True, help="Show it again every second, until interrupted.")
@with_settings
def command(settings: Settings, *, as_document: bool, watch: bool) -> None:
    """Show how the router does. Exit status 0: ready, 3: running and not ready, 1: no answer."""
    if watch:
        _watch(settings)
        return
    status = ask(settings, "/v1/status")
    if as_document:
        click.echo(as_json(status))
    else:
        console().print(render(status))
    if status["phase"] != "Ready":
        sys.exit(3)


def _watch(settings: Settings) -> None:
    try:
        with Live(Text("asking ..."), console=console(), refresh_per_second=4, screen=False) as live:
            while True:
                try:
                    live.update(render(ask(settings, "/v1/status")))
                except ControlError as error:
                    live.update(Text(str(error), style="red"))
                time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return


def render(status: Document) -> RenderableType:
    """Return the status as a person wants to see it."""
    parts: list[RenderableType] = [
        Text.assemble(
            (str(status["node"]), "bold"), "  ", cell(status["phase"]), f"  routerd {status['version']}, ",
            ", ".join(cast("list[str]", status["plugins"])) or "no plugins",
        )
    ]  # fmt: skip
    parts += [Text(f"  {reason}", style="yellow") for reason in cast("list[str]", status["reasons"])]
    parts += [Text(f"  note: {note}") for note in cast("list[str]", status.get("notes") or [])]
    for part in (_sessions, _enrollment, _claims, _tunnels, _tables, _fabrics):
        made = part(status)
        if made is not None:
            parts += [Text(""), made]
    return Group(*parts)


def _sessions(status: Document) -> RenderableType | None:
    found = cast("list[Document]", status["sessions"])
    rows = [
        (each["neighbour"], each["leaf"], each["state"], each["accepted"],
         sum(cast("dict[str, int]", each["rejected"]).values()), each["advertised"], each["lastError"])
        for each in found
    ]  # fmt: skip
    columns = ("NEIGHBOUR", "LEAF", "STATE", "ACCEPTED", "REJECTED", "ADVERTISED", "LAST ERROR")
    return table("BGP sessions", columns, rows) if rows else None


def _enrollment(status: Document) -> RenderableType | None:
    rows = [
        (each["name"], each["phase"], endpoint["target"], "yes" if endpoint["accepted"] else "no",
         endpoint["until"], endpoint["error"])
        for each in cast("list[Document]", status.get("enrollment") or [])
        for endpoint in cast("list[Document]", each["endpoints"])
    ]  # fmt: skip
    columns = ("CLIENT", "PHASE", "ROUTE REFLECTOR", "ACCEPTED", "UNTIL", "ERROR")
    return table("Enrollment", columns, rows) if rows else None


def _claims(status: Document) -> RenderableType | None:
    rows = [
        (each["name"], each["leafID"], ", ".join(cast("list[str]", each["owned"])),
         "yes" if each["active"] else "no", each["expiresAt"])
        for each in cast("list[Document]", status["claims"])
    ]  # fmt: skip
    return table("Admitted claims", ("NAME", "LEAF", "OWNS", "ACTIVE", "UNTIL"), rows) if rows else None


def _tunnels(status: Document) -> RenderableType | None:
    rows = [
        (each["link"], each["backend"], "yes" if each["up"] else "no", each["rxBytes"], each["txBytes"],
         each["note"])
        for each in cast("list[Document]", status["tunnels"])
    ]  # fmt: skip
    return table("Tunnels", ("LINK", "BACKEND", "UP", "RX", "TX", "NOTE"), rows) if rows else None


def _tables(status: Document) -> RenderableType:
    rows = []
    for each in cast("list[Document]", status["tables"]):
        pending = cast("list[Document]", each["pending"])
        state = str(each["error"]) or (f"{len(pending)} failing" if pending else "")
        if not state and each["planned"]:
            state = _planned(cast("list[Document]", each["planned"]))
        rows.append((each["name"], each["desired"], each["observed"], each["inSync"], state))
    return table("Tables", ("TABLE", "WANTED", "FOUND", "IN SYNC", "TROUBLE"), rows)


def _planned(changes: list[Document]) -> str:
    """Return how many changes are not made, and which are held back why."""
    states = Counter(
        str(cast("Document", each.get("action") or {}).get("state", "planned")) for each in changes
    )
    return ", ".join(f"{count} {_STANDING.get(state, state)}" for state, count in states.items())


_STANDING = {"waiting": "waiting for approval", "auto": "to be made"}


def _fabrics(status: Document) -> RenderableType | None:
    rows = [
        (each["profile"], each["provider"], each["instance"], each["nextHop"],
         ", ".join(cast("list[str]", each["routeTables"])))
        for each in cast("list[Document]", status["fabrics"])
    ]  # fmt: skip
    return (
        table("Clouds", ("PROFILE", "CLOUD", "INSTANCE", "NEXT HOP", "ROUTE TABLES"), rows) if rows else None
    )
