"""The access of the books to the state file: rows, statements, transactions, the error of a damaged file.

The records of the books are in `records`.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import attrs

from routerd.errors import StoreError


class DamagedFile(StoreError):
    """The state file is damaged; at most a part of it is readable."""


class NewerFile(StoreError):
    """The state file is of a newer routerd, which this one must not change."""


Failure = sqlite3.Error | UnicodeDecodeError
FAILURES = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; the second one for a message of its own with a damaged name in it."""


Place = tuple[int, int]
"""The device and the inode of a file."""


def place_of(path: Path) -> Place | None:
    """Return where a file is, none when it does not exist or cannot be asked for."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Rows(Protocol):
    """The result of a statement."""

    def fetchall(self) -> list[Any]:  # Any: a row's columns
        """Return all rows."""


class Connection(Protocol):
    """The part of a `sqlite3.Connection` that the store uses."""

    def execute(self, sql: str, parameters: Sequence[str | int | None] = (), /) -> Rows:
        """Run one statement."""

    def close(self) -> None:
        """Close the file."""


class Execute(Protocol):
    """Runs one statement of the transaction."""

    def __call__(self, sql: str, parameters: Sequence[str | int | None] = (), /) -> Rows:
        """Run it and return its rows."""


@attrs.frozen(kw_only=True)
class Salvaged:
    """The number of records by table that a new file has from the damaged one, now at `aside`."""

    aside: Path
    records: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        """Return the result in words."""
        kept = ", ".join(f"{count} {table}" for table, count in self.records if count) or "nothing"
        return f"it was damaged and is set aside as {self.aside.name}; records kept from it: {kept}"


@attrs.frozen(kw_only=True)
class Opened:
    """A state file that is open for writing: one connection to change it, one to read it."""

    connection: Connection
    reader: Connection
    place: Place | None
    salvaged: Salvaged | None = None
    whole: bool = True
    """Whether everything that the file held is there."""


@attrs.frozen(kw_only=True)
class Access:
    """The access of one book to the state file.

    `read` returns the rows of a query; the writes of `transaction` are on the disk when its block ends.
    """

    read: Callable[..., list[Any]]  # Any: a row's columns
    transaction: Callable[[], AbstractContextManager[Execute]]


def sync_directory(path: Path) -> None:
    """Put the names of new files in a directory on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
