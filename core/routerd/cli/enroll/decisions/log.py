"""`routerd enroll log`: who asked, from where, and what was decided."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import urlencode

import click

from routerd.cli.enroll.decisions.claim_view import word
from routerd.cli.share import times
from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json
from routerd.control.client import Document
from routerd.control.ports import AUDIT_LIMIT, AUDIT_MOST
from routerd.errors import ControlError
from routerd.model.claim import bare_name

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
@click.option("--json", "as_document", is_flag=True, help="Print JSON; with -f one entry a line.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is decided from now on.")
@with_settings
def command(settings: Settings, *, limit: int, name: str | None, as_document: bool, follow: bool) -> None:
    """Show the decisions on claims, oldest first: when, what, which claim, from where, why.

    Refusals that repeat are one entry with their count. `admin` is who used this host's socket.
    """
    entries = _ask(settings, limit, name)
    if follow:
        _follow(settings, entries, name, as_document=as_document)
    elif as_document:
        click.echo(as_json(cast("Any", entries)))
    else:
        for entry in entries:
            click.echo(line(entry))
        if not entries:
            click.echo("nothing was decided yet")


def line(entry: Document) -> str:
    """Return an entry as one line."""
    claim, leaf = word(entry, "claim") or "-", word(entry, "leafID")
    who = claim if leaf in ("", claim) else f"{claim} (leaf {leaf})"
    why = ": ".join(text for text in (word(entry, "reason"), word(entry, "message")) if text)
    count = entry.get("count")
    times_over = f"{count} times" if isinstance(count, int) and count > 1 else ""
    source = word(entry, "source") or "admin"
    parts = (f"{word(entry, 'decision'):<11}", f"{who:<12}", f"from {source}", times_over, why)
    return "  ".join([times.text(entry.get("at")), *(part for part in parts if part)])


class Unseen:
    """Picks the entries that were not shown yet, and those whose count has grown."""

    def __init__(self) -> None:
        self._counts: dict[int, object] = {}
        self._latest = -1

    def among(self, entries: Sequence[Document]) -> Iterator[Document]:
        """Yield what is new, and remember it; what was older at the first look is not."""
        for entry in entries:
            number = cast("int", entry.get("number") or 0)
            count = entry.get("count")
            if number > self._latest or (number in self._counts and self._counts[number] != count):
                yield entry
                self._counts[number] = count
                self._latest = max(self._latest, number)
        shown = {entry.get("number") for entry in entries}
        self._counts = {number: count for number, count in self._counts.items() if number in shown}


def _follow(settings: Settings, entries: Sequence[Document], name: str | None, *, as_document: bool) -> None:
    unseen = Unseen()
    silent = False
    try:
        while True:
            for entry in unseen.among(entries):
                click.echo(_compact(entry) if as_document else line(entry))
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


def _ask(settings: Settings, limit: int, name: str | None) -> list[Document]:
    query = {"limit": str(limit), **({"claim": bare_name(name)} if name else {})}
    return cast("list[Document]", ask(settings, f"/v1/enrollment-log?{urlencode(query)}")["items"])


def _compact(entry: Document) -> str:
    return json.dumps(entry, ensure_ascii=False)
