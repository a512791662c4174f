"""How the books of the state file reach it: rows, statements, transactions, and the error of a damaged file.

What is in the books is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import attrs

from routerd.errors import StoreError


class DamagedFile(StoreError):
    """The state file is damaged; what is in it can be read in part at most."""


class Rows(Protocol):
    """What a statement returned."""

    def fetchall(self) -> list[Any]:  # Any: a row's columns
        """Return all rows."""
        ...


class Connection(Protocol):
    """The part of a `sqlite3.Connection` that the store uses."""

    def execute(self, sql: str, parameters: Sequence[str | int | None] = (), /) -> Rows:
        """Run one statement."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Execute(Protocol):
    """Runs one statement of the transaction."""

    def __call__(self, sql: str, parameters: Sequence[str | int | None] = (), /) -> Rows:
        """Run it and return what it found."""
        ...


@attrs.frozen(kw_only=True)
class Access:
    """How the book gets at the state file.

    `read` returns the rows of a query; `transaction` is on the disk when its block ends.
    """

    read: Callable[..., list[Any]]  # Any: a row's columns
    transaction: Callable[[], AbstractContextManager[Execute]]
