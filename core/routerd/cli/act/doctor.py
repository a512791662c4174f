"""`routerd doctor`: what is missing outside of this host, before anything is changed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import click
from rich.console import Console
from rich.text import Text

from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console
from routerd.clouds.checkup import Checkup, chosen, examine
from routerd.model.fabric import Finding
from routerd.spi import JSONValue

_MARKS = {"ok": ("ok", "green"), "missing": ("missing", "bold red"), "unknown": ("unknown", "yellow")}


@click.group("doctor")
def command() -> None:
    """Find out what keeps this router from working. Changes nothing, and needs no daemon."""


@command.command("cloud")
@click.argument("profile", required=False)
@click.option("--json", "as_document", is_flag=True, help="Print JSON.")
@with_settings
def cloud(settings: Settings, *, profile: str | None, as_document: bool) -> None:
    """Ask each cloud of the file, or one PROFILE, who we are and what we may do.

    Exit status 0: nothing is missing, 1: something is, 2: the file cannot be used.
    """
    prepared = settings.command.prepare()
    terminal, log = console(), settings.quiet_log()
    checkups: list[Checkup] = []
    for each in chosen(prepared, profile):
        checkup = asyncio.run(examine(prepared, each, log))
        if not as_document:
            if checkups:
                terminal.print()
            _show(checkup, terminal)
        checkups.append(checkup)
    if as_document:
        click.echo(as_json({"profiles": [_document(each) for each in checkups]}))
    if not all(each.healthy for each in checkups):
        sys.exit(1)


def _show(checkup: Checkup, terminal: Console) -> None:
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


def _facts(checkup: Checkup) -> Iterator[tuple[str, str]]:
    facts = checkup.facts
    if facts is None:
        return
    yield "instance", facts.instance
    for nic in facts.nics:
        switch = checkup.forwarding.get(nic.ref)
        state = "not known" if switch is None else "on" if switch else "off"
        parts = [
            nic.ref,
            str(nic.address),
            nic.subnet,
            "primary" if nic.primary else "",
            f"forwarding {state}",
        ]
        yield "interface", "  ".join(part for part in parts if part)
    yield "routes lead to", facts.next_hop
    yield "route tables", ", ".join(facts.route_tables) or "none"
    yield "networks", ", ".join(map(str, facts.networks)) or "not known"
    yield "routes to us", "not known" if checkup.routes is None else str(checkup.routes)


def _document(checkup: Checkup) -> JSONValue:
    facts = checkup.facts
    return {
        "profile": checkup.profile,
        "provider": checkup.provider,
        "mode": checkup.mode,
        "healthy": checkup.healthy,
        "diagnosed": checkup.diagnosed,
        "instance": facts.instance if facts else None,
        "nextHop": facts.next_hop if facts else None,
        "nics": [
            {
                "ref": nic.ref,
                "address": str(nic.address),
                "subnet": nic.subnet,
                "primary": nic.primary,
                "forwarding": checkup.forwarding.get(nic.ref),
            }
            for nic in (facts.nics if facts else ())
        ],
        "routeTables": [str(table) for table in (facts.route_tables if facts else ())],
        "networks": [str(network) for network in (facts.networks if facts else ())],
        "routes": checkup.routes,
        "findings": [
            {
                "subject": finding.subject,
                "state": finding.state,
                "detail": finding.detail,
                "remedy": finding.remedy,
            }
            for finding in checkup.findings
        ],
    }
