"""The store: claims, nonces, revocations, topologies, the journal, original values.

Each public method is one transaction, on the disk when it returns. Methods block for about the
time of one `fsync`; they may be called from any thread. Who may do what is not decided here.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from routerd.errors import StoreError
from routerd.model.claim import AdmittedClaim, Claim, Topology
from routerd.spi import Clock
from routerd.store.access import Access, Connection, Rows
from routerd.store.admission import AdmissionBook
from routerd.store.codec import dumps, loads
from routerd.store.denials import Denials
from routerd.store.journal import JournalBook
from routerd.store.salvage import Salvaged, damaged_files

T = TypeVar("T")


class Store:
    """The open state file; made by `open_store`. Every method may raise `StoreError`."""

    def __init__(
        self,
        connection: Connection,
        *,
        path: Path,
        clock: Clock,
        explain: Callable[[Path, sqlite3.Error], StoreError],
        reader: Connection | None = None,
        salvaged: Salvaged | None = None,
        denials: Denials | None = None,
    ) -> None:
        self.path = path
        self.salvaged = salvaged
        self._connection = connection
        self._reader = reader or connection
        self._clock = clock
        self._explain = explain
        self._lock = threading.Lock()
        # Whoever reads does not wait for a commit's way to the disk.
        self._reading = self._lock if reader is None else threading.Lock()
        self._denials = denials or Denials(path.with_suffix(".denied"))
        access = Access(read=self._read, transaction=self._transaction)
        self.admission = AdmissionBook(access, self._denials, clock.now)
        self.journal = JournalBook(access, clock.now)

    def close(self) -> None:
        """Close the file; a second time is a success."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()
        with self._reading, contextlib.suppress(sqlite3.Error):
            self._reader.close()

    def notes(self) -> list[str]:
        """Return in words which damaged files were set aside and are still there."""
        return [
            f"the state file {self.path} was damaged once and is set aside as {each.name}; leaves have "
            "enrolled again, and revocations were kept; remove it when you have looked at it"
            for each in damaged_files(self.path)
        ]

    # --- admission (route reflector) -------------------------------------------------------------

    def admitted(self) -> tuple[AdmittedClaim, ...]:
        """Return every claim that was admitted, also those that have ended or were revoked."""
        return self.admission.load().admitted

    def recall_revocations(self) -> None:
        """Take over revocations that the file beside the state file knows better."""
        known = {(each.policy, each.leaf_id, each.nonce): each for each in self.admission.load().revocations}
        missing = [found for key, found in self._denials.read().items() if known.get(key) != found]
        if missing:
            self.admission.commit(missing)

    # --- enrollment (leaf) -----------------------------------------------------------------------

    def topologies(self) -> dict[str, Topology]:
        """Return what was fetched, by the name of the set."""
        rows = self._read("SELECT rr_set, body FROM topologies")
        return {name: self._decode(body, Topology) for name, body in rows}

    def keep_topology(self, topology: Topology) -> None:
        """Keep what was fetched, in place of what was fetched before for the same set."""
        with self._transaction() as execute:
            execute(
                "INSERT INTO topologies VALUES (?, ?) "
                "ON CONFLICT (rr_set) DO UPDATE SET body = excluded.body",
                (topology.rr_set, dumps(topology)),
            )

    def own_claims(self) -> dict[str, Claim]:
        """Return the claims that this leaf signed itself, by name."""
        return {
            name: self._decode(body, Claim) for name, body in self._read("SELECT name, body FROM own_claims")
        }

    def keep_own_claim(self, claim: Claim) -> None:
        """Keep a claim that this leaf signed, in place of the one of its name."""
        with self._transaction() as execute:
            execute(
                "INSERT INTO own_claims VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                (claim.name, dumps(claim)),
            )

    # --- values that were on the host before us --------------------------------------------------

    def originals(self, scope: str) -> Originals:
        """Return the original values of one scope, such as `sysctl`."""
        return Originals(self, scope)

    def original_record(self, scope: str, key: str, value: str) -> None:
        """Keep an original value, in place of an older one."""
        with self._transaction() as execute:
            execute(
                "INSERT INTO originals VALUES (?, ?, ?) "
                "ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value",
                (scope, key, value),
            )

    def original_forget(self, scope: str, key: str) -> None:
        """Drop an original value; one that is not kept is a success."""
        with self._transaction() as execute:
            execute("DELETE FROM originals WHERE scope = ? AND key = ?", (scope, key))

    def original_all(self, scope: str) -> dict[str, str]:
        """Return the original values of a scope by key."""
        return dict(self._read("SELECT key, value FROM originals WHERE scope = ? ORDER BY key", (scope,)))

    # --- how ---------------------------------------------------------------------------------------

    def _read(
        self, sql: str, parameters: Sequence[str | int | None] = ()
    ) -> list[Any]:  # Any: a row's columns
        with self._reading:
            try:
                return self._reader.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise self._explain(self.path, error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Callable[..., Rows]]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection.execute
                    self._connection.execute("COMMIT")
                except BaseException:
                    # Also a commit that failed: SQLite may keep that transaction open.
                    with contextlib.suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._explain(self.path, error) from error

    def _decode(self, body: str, kind: type[T]) -> T:
        try:
            return loads(body, kind)
        except ValueError as error:
            raise StoreError(
                f"state file {self.path}: a record is damaged; restore a copy, or move it away ({error})"
            ) from error


class Originals:
    """The original values of one scope."""

    def __init__(self, store: Store, scope: str) -> None:
        self._store = store
        self._scope = scope

    def record(self, key: str, value: str) -> None:
        """Keep an original value, in place of an older one."""
        self._store.original_record(self._scope, key, value)

    def forget(self, key: str) -> None:
        """Drop an original value; one that is not kept is a success."""
        self._store.original_forget(self._scope, key)

    def all(self) -> Mapping[str, str]:
        """Return all original values by key."""
        return self._store.original_all(self._scope)
