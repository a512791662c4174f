"""The store: claims, nonces, revocations, topologies, the journal, original values.

Each public method is one transaction, on the disk when it returns. Methods block for about the
time of one `fsync` and are safe in every thread. The store decides nothing.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from routerd.errors import StoreError
from routerd.model.claim import AdmittedClaim, Claim, Topology
from routerd.spi import Clock
from routerd.store.access import (
    FAILURES,
    Access,
    Connection,
    Failure,
    Opened,
    Place,
    Rows,
    Salvaged,
    place_of,
    sync_directory,
)
from routerd.store.admission import AdmissionBook
from routerd.store.codec import sealed, unsealed
from routerd.store.denials import Denials
from routerd.store.journal import JournalBook
from routerd.store.salvage import damaged_files

T = TypeVar("T")

RETRY_SECONDS = 10.0
"""Minimum seconds between two attempts to open a file again that could not be written."""


class Store:
    """The open state file; made by `open_store`. Every method may raise `StoreError`."""

    def __init__(
        self,
        connection: Connection,
        *,
        path: Path,
        clock: Clock,
        explain: Callable[[Path, Failure], StoreError],
        reader: Connection | None = None,
        salvaged: Salvaged | None = None,
        denials: Denials | None = None,
        reopen: Callable[[Path], Opened] | None = None,
        place: Place | None = None,
        whole: bool = True,
    ) -> None:
        self.path = path
        self.salvaged = salvaged
        self.whole = whole and salvaged is None
        """Whether everything is known that an earlier run has kept."""
        self._connection = connection
        self._reader = reader or connection
        self._clock = clock
        self._explain = explain
        self._reopen = reopen
        self._place = place
        self._trouble: StoreError | None = None
        self._again_at = clock.monotonic() + RETRY_SECONDS
        self._lock = threading.RLock()
        # A read does not wait for a commit's way to the disk.
        self._reading = self._lock if reader is None else threading.RLock()
        self._denials = denials or Denials(path.with_suffix(".denied"))
        self._access = Access(read=self._read, transaction=self._transaction)
        self.admission = AdmissionBook(self._access, self._denials, clock.now)
        self.journal = JournalBook(self._access, clock.now)

    def close(self) -> None:
        """Close the file; a second time is a success."""
        with self._lock, contextlib.suppress(*FAILURES):
            self._connection.close()
        with self._reading, contextlib.suppress(*FAILURES):
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
        """Return the fetched topologies by the name of their set; a damaged one will be fetched again."""
        return dict(self._whole("SELECT rr_set, body FROM topologies", Topology))

    def keep_topology(self, topology: Topology) -> None:
        """Keep a fetched topology in place of the earlier one of its set."""
        with self._transaction() as execute:
            execute(
                "INSERT INTO topologies VALUES (?, ?) "
                "ON CONFLICT (rr_set) DO UPDATE SET body = excluded.body",
                (topology.rr_set, sealed(topology)),
            )

    def own_claims(self) -> dict[str, Claim]:
        """Return the claims that this leaf signed, by name; it signs one with a damaged record again."""
        return dict(self._whole("SELECT name, body FROM own_claims", Claim))

    def own_signers(self) -> dict[str, str]:
        """Return what identifies the key that signed each of them; empty for an earlier routerd's."""
        return dict(self._read("SELECT name, signer FROM own_claims"))

    def keep_own_claim(self, claim: Claim, signer: str = "") -> None:
        """Keep a claim that this leaf signed with the key `signer`, in place of its earlier one."""
        with self._transaction() as execute:
            execute(
                "INSERT INTO own_claims (name, body, signer) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET body = excluded.body, signer = excluded.signer",
                (claim.name, sealed(claim), signer),
            )

    # --- values of the host from before our changes ----------------------------------------------

    def originals(self, scope: str) -> "Originals":
        """Return the original values of one scope, such as `sysctl`."""
        return Originals(self._access, scope)

    # --- how ---------------------------------------------------------------------------------------

    def _whole(self, query: str, kind: type[T]) -> Iterator[tuple[str, T]]:
        """Yield the names and records of a query; one that is damaged counts as missing."""
        for name, body in self._read(query):
            with contextlib.suppress(ValueError):
                yield name, unsealed(body, kind)

    def _read(
        self, sql: str, parameters: Sequence[str | int | None] = ()
    ) -> list[Any]:  # Any: a row's columns
        with self._reading:
            try:
                return self._reader.execute(sql, parameters).fetchall()
            except FAILURES as error:
                raise self._explain(self.path, error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Callable[..., Rows]]:
        with self._lock:
            self._check_place()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection.execute
                    self._connection.execute("COMMIT")
                except BaseException:
                    # Also after a failed commit: SQLite may keep that transaction open.
                    with contextlib.suppress(*FAILURES):
                        self._connection.execute("ROLLBACK")
                    raise
            except FAILURES as error:
                raise self._explain(self.path, error) from error

    # --- a file that cannot be written ---------------------------------------------------------------

    @property
    def trouble(self) -> StoreError | None:
        """Return why nothing can be written, none while everything can; tries again before it says so."""
        with self._lock, contextlib.suppress(StoreError):
            self._check_place()
        return self._trouble

    def degrade(self, error: StoreError) -> None:
        """Refuse every write from now on, with this error, until the file takes writes again."""
        self._trouble = error

    def _check_place(self) -> None:
        """Raise the trouble of a file that cannot be written, unless it has ended.

        What is written to a file that has lost its name would be gone with this process.
        """
        if self._trouble is None and (self._place is None or place_of(self.path) == self._place):
            return
        now = self._clock.monotonic()
        if self._trouble is None or now >= self._again_at:
            self._again_at = now + RETRY_SECONDS
            try:
                self._reopen_file()
            except StoreError as error:
                self._trouble = error
        if self._trouble is not None:
            raise self._trouble

    def _reopen_file(self) -> None:
        if self._reopen is None:
            return
        found = place_of(self.path)
        if self._place is not None and found not in (None, self._place):
            raise StoreError(
                f"state file {self.path}: another file is in its place, and what routerd writes would be "
                "lost; restart routerd to use that file"
            )
        opened = self._reopen(self.path) if found is not None else self._rewritten(self._reopen)
        with self._reading:
            for old in {id(each): each for each in (self._connection, self._reader)}.values():
                with contextlib.suppress(*FAILURES):
                    old.close()
            self._connection, self._reader = opened.connection, opened.reader
        self._place, self._trouble = opened.place, None

    def _rewritten(self, reopen: Callable[[Path], Opened]) -> Opened:
        """Write everything that is known into a new file, because somebody has removed the old one."""
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            fresh.unlink(missing_ok=True)
            os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection.execute("VACUUM INTO ?", (str(fresh),))
            fresh.replace(self.path)
            sync_directory(self.path.parent)
        except FAILURES as error:
            raise self._explain(self.path, error) from error
        except OSError as error:
            raise StoreError(
                f"state file {self.path}: it is gone and cannot be written again: {error.strerror}; "
                "make its directory again (mode 0700), or restart routerd"
            ) from error
        return reopen(self.path)


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
