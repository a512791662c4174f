"""A damaged state file: set aside, and everything in it that can still be read taken over.

The new file is complete before it takes the old one's name. A kill at any point leaves either the
damaged file, which is found again at the next start, or the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from routerd.errors import StoreError
from routerd.spi import Clock

DAMAGED = ".damaged-"
_FRESH = ".new"
_SIDE_FILES = ("-wal", "-shm")
_JSON_COLUMNS = ("body", "key_value", "before", "after")


@attrs.frozen(kw_only=True)
class Salvaged:
    """What was taken over from a damaged file: records by table; `aside` is where that file is now."""

    aside: Path
    records: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        """Return it in words."""
        kept = ", ".join(f"{count} {table}" for table, count in self.records if count) or "nothing"
        return f"it was damaged and set aside as {self.aside.name}; taken over from it: {kept}"


def set_aside(path: Path, *, clock: Clock, prepare: Callable[[sqlite3.Connection], None]) -> Salvaged:
    """Put a new file in the place of the damaged `path`; `prepare` gives a connection its schema.

    Raises `StoreError` when that is not possible, and then leaves the damaged file where it is.
    """
    fresh = path.with_name(path.name + _FRESH)
    aside = path.with_name(f"{path.name}{DAMAGED}{clock.now():%Y%m%dT%H%M%SZ}")
    try:
        _remove(fresh)
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        records = _copy(path, fresh, prepare)
        _replace(path, fresh, aside)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"state file {path}: it is damaged, and a new one cannot be made beside it: {error}; "
            "free some space or mend the disk"
        ) from error
    return Salvaged(aside=aside, records=records)


def damaged_files(path: Path) -> tuple[Path, ...]:
    """Return the files that were set aside earlier and that nobody has removed yet."""
    found = path.parent.glob(f"{path.name}{DAMAGED}*")
    return tuple(sorted(each for each in found if not each.name.endswith(_SIDE_FILES)))


def _copy(
    path: Path, fresh: Path, prepare: Callable[[sqlite3.Connection], None]
) -> tuple[tuple[str, int], ...]:
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as target:
        prepare(target)
        found = target.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        tables = [name for (name,) in found if not name.startswith("sqlite")]
        target.execute("BEGIN")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as source:
            counts = [(table, _copy_table(source, target, table)) for table in tables]
        target.execute("COMMIT")
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return tuple(counts)


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    wanted = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    columns: list[str] = []
    with contextlib.suppress(sqlite3.Error):
        columns = [row[1] for row in source.execute(f"PRAGMA table_info({table})") if row[1] in wanted]
    if not columns:
        return 0
    listed, marks = ", ".join(columns), ", ".join("?" * len(columns))
    before = target.total_changes
    # From both ends: what lies behind a damaged page can be reached from the other side.
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
    except (sqlite3.Error, UnicodeDecodeError):
        return


def _whole(columns: Sequence[str], row: Sequence[Any]) -> bool:  # Any: as above
    try:
        for column, value in zip(columns, row, strict=True):
            if column in _JSON_COLUMNS:
                json.loads(value)
    except (ValueError, TypeError):
        return False
    return True


def _replace(path: Path, fresh: Path, aside: Path) -> None:
    # The old log must be gone before the new file has the name: SQLite would play it into it.
    for suffix in _SIDE_FILES:
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(aside.with_name(aside.name + suffix))
        _remove(fresh.with_name(fresh.name + suffix))
    aside.unlink(missing_ok=True)
    os.link(path, aside)
    fresh.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    for each in (path, *(path.with_name(path.name + suffix) for suffix in _SIDE_FILES)):
        each.unlink(missing_ok=True)
