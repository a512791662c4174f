"""`routerd plan`: what would change, by the same code that changes it."""

import sys
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import click
from rich.console import Console
from rich.text import Text

from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console
from routerd.control.client import is_there
from routerd.errors import ConfigError, PluginError
from routerd.model.report.plan import Plan, PlannedChange

_SIGNS = {"create": ("+", "green"), "replace": ("~", "yellow"), "delete": ("-", "red")}


@click.command("plan")
@with_output
@with_settings
def command(settings: Settings, *, output: Output) -> None:
    """Show what routerd would change, and change nothing.

    A running daemon answers from its claims and learned routes; without a daemon, the command reads
    the host itself. Exit status 0: no change, 2: there are changes, 1: a table cannot be read, or a
    wanted change would be refused.
    """
    try:
        plan = _plan(settings)
    except (ConfigError, PluginError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    if not output.wrote(plan):
        _show(plan, console())
    if plan.changes:
        sys.exit(2)
    if plan.unreadable or plan.refused:
        sys.exit(1)


def _plan(settings: Settings) -> Plan:
    if is_there(settings.directories.admin_socket):
        path = f"/v1/plan?file={quote(str(Path(settings.config).resolve()))}"
        return ask(settings, path, Plan)
    from routerd.runtime.single_runs import plan_offline  # noqa: PLC0415 - not for a daemon's answer

    prepared = settings.call(settings.command.prepare)
    return settings.run(plan_offline(prepared, settings.command, settings.quiet_log()))


def _show(plan: Plan, terminal: Console) -> None:
    last = ""
    for change in plan.changes:
        if change.table != last:
            terminal.print(Text(change.table, style="bold"))
            last = change.table
        _show_change(change, terminal)
    for refused in plan.refused:
        sign, _ = _SIGNS[refused.verb]
        text = f"  ! {refused.table} {sign} {refused.key} will be refused: {refused.reason}"
        terminal.print(Text(text, style="red"))
    for text in plan.unreadable:
        terminal.print(Text(f"  ! {text}", style="red"))
    if plan.incomplete:
        text = f"  not known completely yet, so routerd deletes nothing from: {', '.join(plan.incomplete)}"
        terminal.print(Text(text, style="dim"))
    count = Counter(change.verb for change in plan.changes)
    if plan.changes:
        terminal.print(
            f"{count['create']} to create, {count['replace']} to replace, {count['delete']} to delete"
        )
    else:
        terminal.print("nothing to change")


def _show_change(change: PlannedChange, terminal: Console) -> None:
    sign, style = _SIGNS[change.verb]
    terminal.print(Text(f"  {sign} {change.key}", style=style))
    if change.verb == "replace":
        terminal.print(Text(f"      from {change.before}\n      to   {change.after}", style="dim"))
    elif change.after:
        terminal.print(Text(f"      {change.after}", style="dim"))
    if change.action is not None:
        style = "" if change.action.state == "auto" else "yellow"
        terminal.print(Text(f"      {change.action.text}", style=style))
