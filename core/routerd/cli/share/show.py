"""Results on a terminal: tables without frames, a colour for the phase, plain when piped.

rich is imported when the first table is made: it takes longer to import than a daemon takes to answer,
and a command that prints a document or an error needs none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from routerd.model.moment import second_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_STYLES = {
    "Ready": "green", "established": "green", "yes": "green", "True": "green",
    "Pending": "yellow", "Degraded": "yellow", "Backoff": "yellow", "no": "yellow",
    "Error": "red", "Expired": "red", "Revoked": "red", "idle": "red",
    "Approved": "green", "Rejected": "red", "Quarantined": "red",
    "active": "yellow", "connect": "yellow",
    "passed": "green", "failed": "red", "missing": "yellow",
}  # fmt: skip


def console() -> Console:
    """Return the terminal; output to a file or a program keeps its lines whole."""
    from rich.console import Console  # noqa: PLC0415 - see above

    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=10_000)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; known words have a colour."""
    from rich.table import Table  # noqa: PLC0415 - see above

    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold dim")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def cell(value: object) -> Text:
    """Return a value as a cell: `-` for nothing, `yes` or `no` for a truth value, a time in UTC."""
    from rich.text import Text  # noqa: PLC0415 - see above

    if isinstance(value, Text):
        return value
    match value:
        case bool():
            text = "yes" if value else "no"
        case datetime():
            text = second_text(value)
        case _:
            text = "" if value is None else str(value)
    return Text(text or "-", style=_STYLES.get(text, ""))
