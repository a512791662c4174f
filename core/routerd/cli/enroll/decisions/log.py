"""`routerd enroll log`: who asked, from where, and what was decided."""

import json
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

import click

from routerd.cli.share import times
from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.control.ports import AUDIT_LIMIT, AUDIT_MOST
from routerd.control.wire import to_document
from routerd.errors import ControlError
from routerd.model.names import Ref
from routerd.model.report.claims import AuditEntry, DecisionList

FOLLOW_SECONDS = 1.0


@click.command("log")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, AUDIT_MOST),
    default=AUDIT_LIMIT,
    show_default=True,
    help="How many of the latest entries.",
)
@click.option("--claim", "name", metavar="NAME", help="Only decisions on this claim.")
@with_output
@click.option(
    "-f", "--follow", is_flag=True, help="Continue with new decisions; with -o json, one document a line."
)
@with_settings
def command(settings: Settings, *, limit: int, name: str | None, output: Output, follow: bool) -> None:
    """Show the decisions on claims, oldest first: when, what, which claim, from where, why.

    Refusals that repeat are one entry with their count. `admin` is who used this host's socket.
    """
    entries = _ask(settings, limit, name)
    if follow:
        _follow(settings, entries, name, output)
    elif not output.wrote(DecisionList(items=tuple(entries))):
        for entry in entries:
            click.echo(line(entry))
        if not entries:
            click.echo("no decision yet")


def line(entry: AuditEntry) -> str:
    """Return an entry as one line."""
    claim, leaf = entry.claim or "-", entry.leaf_id
    who = claim if leaf in ("", claim) else f"{claim} (leaf {leaf})"
    why = ": ".join(text for text in (entry.reason, entry.message) if text)
    repeats = f"{entry.count} times" if entry.count > 1 else ""
    parts = (f"{entry.decision:<11}", f"{who:<12}", f"from {entry.source or 'admin'}", repeats, why)
    return "  ".join([times.text(entry.at), *(part for part in parts if part)])


class Unseen:
    """Picks the entries that were not shown yet, and those whose count has grown."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._latest = -1

    def among(self, entries: Sequence[AuditEntry]) -> Iterator[AuditEntry]:
        """Yield what is new, and remember it; what was older at the first look is not."""
        for entry in entries:
            number, count = entry.number, entry.count
            if number > self._latest or (number in self._counts and self._counts[number] != count):
                yield entry
                self._counts[number] = count
                self._latest = max(self._latest, number)
        shown = {entry.number for entry in entries}
        self._counts = {number: count for number, count in self._counts.items() if number in shown}


def _follow(settings: Settings, entries: Sequence[AuditEntry], name: str | None, output: Output) -> None:
    unseen = Unseen()
    silent = False
    try:
        while True:
            for entry in unseen.among(entries):
                click.echo(
                    json.dumps(to_document(entry), ensure_ascii=False) if output.is_document else line(entry)
                )
            time.sleep(FOLLOW_SECONDS)
            try:
                entries = _ask(settings, AUDIT_LIMIT, name)
                silent = False
            except ControlError as error:
                # The daemon may be restarting; what was decided meanwhile is in the log afterwards.
                if not silent:
                    click.echo(f"routerd: {error}; trying again", err=True)
                silent = True
    except KeyboardInterrupt:
        return


def _ask(settings: Settings, limit: int, name: str | None) -> Sequence[AuditEntry]:
    query = {"limit": str(limit), **({"claim": Ref.parse(name).name} if name else {})}
    return ask(settings, f"/v1/enrollment-log?{urlencode(query)}", DecisionList).items
