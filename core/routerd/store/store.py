"""The store: claims, nonces, revocations, topologies, the journal, original values.

Each public method is one transaction, on the disk when it returns. Methods block for about the
time of one `fsync` and are safe in every thread. The store decides nothing.
"""

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
        # A read does not wait for a commit's way to the disk.
        self._reading = self._lock if reader is None else threading.Lock()
        self._denials = denials or Denials(path.with_suffix(".denied"))
        self._access = Access(read=self._read, transaction=self._transaction)
        self.admission = AdmissionBook(self._access, self._denials, clock.now)
        self.journal = JournalBook(self._access, clock.now)

    def close(self) -> None:
        """Close the file; a second time is a success."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()
        with self._reading, contextlib.suppress(sqlite3.Error):
            self._reader.close()

    def notes(self) -> list[str]:
        """Return in words which damaged files of earlier starts are still there."""
        return [
            f"state file {self.path}: it was damaged once and is set aside as {each.name}; leaves have "
            "enrolled again, and revocations were kept; inspect and remove the old file"
            for each in damaged_files(self.path)
        ]

    # --- admission (route reflector) -------------------------------------------------------------

    def admitted(self) -> tuple[AdmittedClaim, ...]:
        """Return every admitted claim, including expired and revoked ones."""
        return self.admission.load().admitted

    def recall_revocations(self) -> None:
        """Copy revocations that are only in the file of `denials` into the state file."""
        known = {(each.policy, each.leaf_id, each.nonce): each for each in self.admission.load().revocations}
        missing = [found for key, found in self._denials.read().items() if known.get(key) != found]
        if missing:
            self.admission.commit(missing)

    # --- enrollment (leaf) -----------------------------------------------------------------------

    def topologies(self) -> dict[str, Topology]:
        """Return the fetched topologies by the name of their set."""
        rows = self._read("SELECT rr_set, body FROM topologies")
        return {name: self._decode(body, Topology) for name, body in rows}

    def keep_topology(self, topology: Topology) -> None:
        """Keep a fetched topology in place of the earlier one of its set."""
        with self._transaction() as execute:
            execute(
                "INSERT INTO topologies VALUES (?, ?) "
                "ON CONFLICT (rr_set) DO UPDATE SET body = excluded.body",
                (topology.rr_set, dumps(topology)),
            )

    def own_claims(self) -> dict[str, Claim]:
        """Return the claims that this leaf signed, by name."""
        return {
            name: self._decode(body, Claim) for name, body in self._read("SELECT name, body FROM own_claims")
        }

    def own_signers(self) -> dict[str, str]:
        """Return what identifies the key that signed each of them; empty for an earlier routerd's."""
        return dict(self._read("SELECT name, signer FROM own_claims"))

    def keep_own_claim(self, claim: Claim, signer: str = "") -> None:
        """Keep a claim that this leaf signed with the key `signer`, in place of its earlier one."""
        with self._transaction() as execute:
            execute(
                "INSERT INTO own_claims (name, body, signer) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET body = excluded.body, signer = excluded.signer",
                (claim.name, dumps(claim), signer),
            )

    # --- values of the host from before our changes ----------------------------------------------

    def originals(self, scope: str) -> "Originals":
        """Return the original values of one scope, such as `sysctl`."""
        return Originals(self._access, scope)

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
                    # Also after a failed commit: SQLite may keep that transaction open.
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
                f"state file {self.path}: a record is damaged ({error}); restore a copy, or move it away"
            ) from error


class Originals:
    """The original values of one scope."""

    def __init__(self, access: Access, scope: str) -> None:
        self._access = access
        self._scope = scope

    def record(self, key: str, value: str) -> None:
        """Keep an original value in place of an older one."""
        with self._access.transaction() as execute:
            execute(
                "INSERT INTO originals VALUES (?, ?, ?) "
                "ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value",
                (self._scope, key, value),
            )

    def forget(self, key: str) -> None:
        """Drop an original value; an unknown key is a success."""
        with self._access.transaction() as execute:
            execute("DELETE FROM originals WHERE scope = ? AND key = ?", (self._scope, key))

    def all(self) -> Mapping[str, str]:
        """Return all original values by key."""
        query = "SELECT key, value FROM originals WHERE scope = ? ORDER BY key"
        return dict(self._access.read(query, (self._scope,)))
