"""`routerd peers`: the neighbours, their sessions and the tunnels below them."""

from __future__ import annotations

from typing import Any, cast

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console, table
from routerd.control.client import Document


@click.command("peers")
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Also what was rejected and why, and the last error.")
@with_settings
def command(settings: Settings, *, as_document: bool, verbose: bool) -> None:
    """Show BGP sessions and WireGuard peers."""
    status = ask(settings, "/v1/status")
    sessions, peers = (cast("list[Document]", status[part]) for part in ("sessions", "wireguard"))
    if as_document:
        click.echo(as_json({"sessions": cast("Any", sessions), "wireguard": cast("Any", peers)}))
        return
    terminal = console()
    columns = ["NEIGHBOUR", "LEAF", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "REJECTED", "ADVERTISED"]
    if verbose:
        columns += ["REASONS", "LAST ERROR"]
    terminal.print(table("BGP sessions", columns, [_session(each, verbose=verbose) for each in sessions]))
    if peers:
        rows = [
            (each["link"], str(each["publicKey"])[:12] + "...", each["endpoint"], _age(each["handshakeAge"]),
             "yes" if each["alive"] else "no", each["rxBytes"], each["txBytes"])
            for each in peers
        ]  # fmt: skip
        terminal.print()
        terminal.print(
            table("WireGuard peers", ("LINK", "KEY", "ENDPOINT", "HANDSHAKE", "ALIVE", "RX", "TX"), rows)
        )


def _session(each: Document, *, verbose: bool) -> list[object]:
    rejected = cast("dict[str, int]", each["rejected"])
    row: list[object] = [
        each["neighbour"], each["leaf"], each["state"], each["since"], each["received"], each["accepted"],
        sum(rejected.values()), each["advertised"],
    ]  # fmt: skip
    if verbose:
        row += [", ".join(f"{reason} {count}" for reason, count in rejected.items()), each["lastError"]]
    return row


def _age(seconds: object) -> str:
    return "never" if seconds is None else f"{seconds} s ago"
