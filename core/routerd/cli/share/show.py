"""How results look on a terminal: tables without frames, a colour for the phase, plain when piped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from routerd.spi import JSONValue

_STYLES = {
    "Ready": "green", "established": "green", "yes": "green", "True": "green",
    "Pending": "yellow", "Degraded": "yellow", "Backoff": "yellow", "no": "yellow",
    "Error": "red", "Expired": "red", "Revoked": "red", "idle": "red",
    "Approved": "green", "Rejected": "red", "Quarantined": "red",
    "active": "yellow", "connect": "yellow",
}  # fmt: skip


def console() -> Console:
    """Return the terminal; lines are not cut when the output goes to a file or a program."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=10_000)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; a cell that is a known word gets its colour."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold dim")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def cell(value: object) -> Text:
    """Return a value as a cell; nothing is a dash, and a text keeps its own colour."""
    if isinstance(value, Text):
        return value
    text = "-" if value is None or value == "" else str(value)
    return Text(text, style=_STYLES.get(text, ""))


def as_json(document: JSONValue) -> str:
    """Return a document as indented JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False)
