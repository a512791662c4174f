"""Sets a damaged state file aside and copies its readable records into a new one.

The new file is complete before it takes the old one's name. A kill at any point leaves either the
damaged file, which the next start finds again, or the new one.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from routerd.errors import StoreError
from routerd.spi import Clock
from routerd.store.access import FAILURES, Salvaged, sync_directory
from routerd.store.codec import readable_text, unsealed

DAMAGED = ".damaged-"
_FRESH = ".new"
_SIDE_FILES = ("-wal", "-shm")
_JSON_COLUMNS = ("key_value", "before", "after")


def set_aside(path: Path, *, clock: Clock, prepare: Callable[[sqlite3.Connection], None]) -> Salvaged:
    """Put a new file in the place of the damaged `path`; `prepare` gives a connection its schema.

    On failure the damaged file stays where it is; raises `StoreError`.
    """
    fresh = path.with_name(path.name + _FRESH)
    aside = path.with_name(f"{path.name}{DAMAGED}{clock.now():%Y%m%dT%H%M%SZ}")
    try:
        _remove(fresh)
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        records = _copy(path, fresh, prepare)
        _replace(path, fresh, aside)
    except (OSError, *FAILURES) as error:
        raise StoreError(
            f"state file {path}: it is damaged; routerd cannot make a new one beside it: {error}; "
            "free some space or replace the disk"
        ) from error
    return Salvaged(aside=aside, records=records)


def damaged_files(path: Path) -> tuple[Path, ...]:
    """Return the damaged files of earlier starts that are still there."""
    found = path.parent.glob(f"{path.name}{DAMAGED}*")
    return tuple(sorted(each for each in found if not each.name.endswith(_SIDE_FILES)))


def _copy(
    path: Path, fresh: Path, prepare: Callable[[sqlite3.Connection], None]
) -> tuple[tuple[str, int], ...]:
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as target:
        prepare(target)
        counts = copy_records(path, target)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return counts


def copy_records(path: Path, target: sqlite3.Connection) -> tuple[tuple[str, int], ...]:
    """Copy every readable record of a file into a connection with our schema; return the numbers by table."""
    found = target.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    tables = [name for (name,) in found if not name.startswith("sqlite")]
    target.execute("BEGIN")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as source:
        source.text_factory = readable_text
        counts = [(table, _copy_table(source, target, table)) for table in tables]
    target.execute("COMMIT")
    return tuple(counts)


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    wanted = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    columns: list[str] = []
    with contextlib.suppress(*FAILURES):
        columns = [row[1] for row in source.execute(f"PRAGMA table_info({table})") if row[1] in wanted]
    if not columns:
        return 0
    listed, marks = ", ".join(columns), ", ".join("?" * len(columns))
    before = target.total_changes
    # From both ends, to reach the rows behind a damaged page.
    for order in ("ASC", "DESC"):
        query = f"SELECT {listed} FROM {table} ORDER BY {columns[0]} {order}"  # noqa: S608 - our schema
        for row in _readable(source, query):
            if _whole(columns, row):
                with contextlib.suppress(sqlite3.IntegrityError):
                    target.execute(
                        f"INSERT OR IGNORE INTO {table} ({listed}) VALUES ({marks})",  # noqa: S608 - as above
                        row,
                    )
    return target.total_changes - before


def _readable(source: sqlite3.Connection, query: str) -> Iterator[Sequence[Any]]:  # Any: a row's columns
    try:
        yield from source.execute(query)
    except FAILURES:
        return


def _whole(columns: Sequence[str], row: Sequence[Any]) -> bool:  # Any: as above
    try:
        for column, value in zip(columns, row, strict=True):
            if column == "body":
                unsealed(value, dict)
            elif column in _JSON_COLUMNS:
                json.loads(value)
    except (ValueError, TypeError):
        return False
    return True


def _replace(path: Path, fresh: Path, aside: Path) -> None:
    # The old log must go before the new file has the name: SQLite would replay it into the new file.
    for suffix in _SIDE_FILES:
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(aside.with_name(aside.name + suffix))
        _remove(fresh.with_name(fresh.name + suffix))
    aside.unlink(missing_ok=True)
    os.link(path, aside)
    fresh.replace(path)
    sync_directory(path.parent)


def _remove(path: Path) -> None:
    for each in (path, *(path.with_name(path.name + suffix) for suffix in _SIDE_FILES)):
        each.unlink(missing_ok=True)
