"""`routerd plan`: what would change, by the same code that changes it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast
from urllib.parse import quote

import click
from rich.console import Console
from rich.text import Text

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console
from routerd.control.client import Document, is_there
from routerd.errors import ConfigError, PluginError
from routerd.runtime.single_runs import plan_offline

_SIGNS = {"create": ("+", "green"), "replace": ("~", "yellow"), "delete": ("-", "red")}


@click.command("plan")
@click.option("--json", "as_document", is_flag=True, help="Print the changes as JSON.")
@with_settings
def command(settings: Settings, *, as_document: bool) -> None:
    """Show what would be changed, and change nothing.

    A running daemon answers from what it knows (claims, learned routes); without one, the host is
    looked at directly. Exit status 0: nothing to do, 2: there are changes, 1: it cannot be said, or
    something is wanted that would be refused.
    """
    try:
        document = _plan(settings)
    except (ConfigError, PluginError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    if as_document:
        click.echo(as_json(document))
    else:
        _show(document, console())
    changes = cast("list[Document]", document["changes"])
    if changes:
        sys.exit(2)
    if document["unreadable"] or document["refused"]:
        sys.exit(1)


def _plan(settings: Settings) -> Document:
    if is_there(settings.directories.admin_socket):
        path = f"/v1/plan?file={quote(str(Path(settings.config).resolve()))}"
        return ask(settings, path)
    prepared = settings.command.prepare()
    return asyncio.run(plan_offline(prepared, settings.command, settings.quiet_log()))


def _show(document: Document, terminal: Console) -> None:
    changes = cast("list[dict[str, str]]", document["changes"])
    last = ""
    for change in changes:
        if change["table"] != last:
            terminal.print(Text(change["table"], style="bold"))
            last = change["table"]
        sign, style = _SIGNS[change["verb"]]
        terminal.print(Text(f"  {sign} {change['key']}", style=style))
        if change["verb"] == "replace":
            terminal.print(Text(f"      from {change['before']}\n      to   {change['after']}", style="dim"))
        elif change["after"]:
            terminal.print(Text(f"      {change['after']}", style="dim"))
        action = cast("dict[str, str] | None", change.get("action"))
        if action is not None:
            terminal.print(
                Text(f"      {action['text']}", style="" if action["state"] == "auto" else "yellow")
            )
    for refused in cast("list[dict[str, str]]", document["refused"]):
        sign, _ = _SIGNS[refused["verb"]]
        terminal.print(
            Text(
                f"  ! {refused['table']} {sign} {refused['key']} will be refused: {refused['reason']}",
                style="red",
            )
        )
    for text in cast("list[str]", document["unreadable"]):
        terminal.print(Text(f"  ! {text}", style="red"))
    incomplete = cast("list[str]", document["incomplete"])
    if incomplete:
        terminal.print(
            Text(f"  not known yet, so nothing is deleted from: {', '.join(incomplete)}", style="dim")
        )
    count = {verb: sum(change["verb"] == verb for change in changes) for verb in _SIGNS}
    if changes:
        terminal.print(
            f"{count['create']} to create, {count['replace']} to replace, {count['delete']} to delete"
        )
    else:
        terminal.print("nothing to change")
