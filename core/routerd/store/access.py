"""The access of the books to the state file: rows, statements, transactions, the error of a damaged file.

The records of the books are in `records`.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import attrs

from routerd.errors import StoreError


class DamagedFile(StoreError):
    """The state file is damaged; at most a part of it is readable."""


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
