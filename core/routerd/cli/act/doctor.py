"""`routerd doctor`: what is missing outside of this host, before routerd changes anything."""

import sys
from collections.abc import Iterator

import click
from rich.console import Console
from rich.text import Text

from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console
from routerd.clouds.checkup import chosen, examine
from routerd.model.fabric import Finding
from routerd.model.report.checks import CheckedProfile, CloudCheckup

_MARKS = {"ok": ("ok", "green"), "missing": ("missing", "bold red"), "unknown": ("unknown", "yellow")}


@click.group("doctor")
def command() -> None:
    """Find out what keeps this router from working. Changes nothing, and works without a daemon."""


@command.command("cloud")
@click.argument("profile", required=False)
@with_output
@with_settings
def cloud(settings: Settings, *, profile: str | None, output: Output) -> None:
    """Ask each cloud of the file, or one PROFILE, for this instance and its permissions.

    Exit status 0: nothing is missing, 1: something is missing, 2: the file is not valid.
    """
    prepared = settings.call(settings.command.prepare)
    terminal, log = console(), settings.quiet_log()
    checkups: list[CheckedProfile] = []
    for each in chosen(prepared, profile):
        checkup = settings.run(examine(prepared, each, log))
        if not output.is_document:
            if checkups:
                terminal.print()
            _show(checkup, terminal)
        checkups.append(checkup)
    output.wrote(CloudCheckup(profiles=tuple(checkups)))
    if not all(each.healthy for each in checkups):
        sys.exit(1)


def _show(checkup: CheckedProfile, terminal: Console) -> None:
    terminal.print(
        Text.assemble((checkup.profile, "bold"), f"  cloud {checkup.provider}, mode {checkup.mode}")
    )
    for label, value in _facts(checkup):
        terminal.print(Text(f"  {label:<16}{value}"))
    for finding in checkup.findings:
        _show_finding(finding, terminal)
    if not checkup.diagnosed and checkup.healthy:
        terminal.print(
            Text(f"  unknown  permissions: the plugin for {checkup.provider} cannot check them", style="dim")
        )


def _show_finding(finding: Finding, terminal: Console) -> None:
    mark, style = _MARKS[finding.state]
    detail = f": {finding.detail}" if finding.detail else ""
    terminal.print(Text.assemble("  ", (f"{mark:<9}", style), f"{finding.subject}{detail}"))
    if finding.remedy and finding.state != "ok":
        terminal.print(Text(f"           {finding.remedy}"))


def _facts(checkup: CheckedProfile) -> Iterator[tuple[str, str]]:
    if checkup.instance is None:
        return
    yield "instance", checkup.instance
    for nic in checkup.nics:
        state = "not known" if nic.forwarding is None else "on" if nic.forwarding else "off"
        parts = [
            nic.ref,
            str(nic.address),
            nic.subnet,
            "primary" if nic.primary else "",
            f"forwarding {state}",
        ]
        yield "interface", "  ".join(part for part in parts if part)
    yield "routes lead to", checkup.next_hop or ""
    yield "route tables", ", ".join(checkup.route_tables) or "none"
    yield "networks", ", ".join(checkup.networks) or "not known"
    yield "routes to us", "not known" if checkup.routes is None else str(checkup.routes)
