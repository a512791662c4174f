"""The SQLite file: opening, checking, migrating, and its errors in words.

What complicates this:

* SQLite reports a damaged file as often by an error in the middle of a statement as by its check
  on opening, and both must lead to the same remedy.
* A damaged file must not keep a reflector from starting. `open_store` sets it aside and copies the
  readable records (`salvage`); a revocation must survive even the loss of the file (`denials`).
* A damaged byte may be in the text of SQLite's own message, or in a record that is not UTF-8 any more.
  Python raises `UnicodeDecodeError` for the first; `codec` refuses the second, as any record whose
  checksum is wrong.
* A disk that is full or read-only must not keep a router from forwarding: a copy in memory then answers
  what was known, refuses every write, and gives way to the file as soon as that takes writes again.
* A dry run reads the file of a running daemon, also one of an older schema, and must not change it:
  `read_store` migrates a copy in memory.
* SQLite creates its side files with the mode of the main file, so the main file must exist with
  mode 0600 before SQLite opens it.
* Published migrations never change; an index costs every claim one more page to write and sync.
"""

import contextlib
import functools
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import attrs

from routerd.errors import StoreError
from routerd.spi import Clock
from routerd.store.access import FAILURES, Connection, DamagedFile, Failure, NewerFile, Opened, place_of
from routerd.store.codec import readable_text
from routerd.store.denials import Denials
from routerd.store.salvage import copy_records, set_aside
from routerd.store.store import Store

BUSY_SECONDS = 5.0


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE claims (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT",
        """CREATE TABLE nonces (policy TEXT NOT NULL, nonce TEXT NOT NULL, leaf_id TEXT NOT NULL,
           fingerprint TEXT NOT NULL, PRIMARY KEY (policy, nonce)) STRICT, WITHOUT ROWID""",
        """CREATE TABLE revocations (policy TEXT NOT NULL, leaf_id TEXT NOT NULL, nonce TEXT NOT NULL,
           body TEXT NOT NULL, PRIMARY KEY (policy, leaf_id, nonce)) STRICT, WITHOUT ROWID""",
        "CREATE TABLE topologies (rr_set TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT",
        "CREATE TABLE own_claims (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT",
        """CREATE TABLE journal (number INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL,
           tbl TEXT NOT NULL, verb TEXT NOT NULL, key TEXT NOT NULL, key_value TEXT NOT NULL,
           before TEXT NOT NULL, after TEXT NOT NULL, begun_at TEXT NOT NULL,
           outcome TEXT NOT NULL DEFAULT '', finished_at TEXT) STRICT""",
        "CREATE INDEX journal_key ON journal (scope, tbl, key, number)",
        """CREATE TABLE originals (scope TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
           PRIMARY KEY (scope, key)) STRICT, WITHOUT ROWID""",
    ),
    (
        # Each index is one more page to write and sync for every claim, so a rare query scans.
        "CREATE TABLE claims_by_name (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID",
        "INSERT INTO claims_by_name SELECT name, body FROM claims",
        "DROP TABLE claims",
        "ALTER TABLE claims_by_name RENAME TO claims",
        "ALTER TABLE nonces ADD COLUMN until TEXT",
        "CREATE TABLE pending (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT",
        """CREATE TABLE verdicts (policy TEXT NOT NULL, leaf_id TEXT NOT NULL, body TEXT NOT NULL,
           PRIMARY KEY (policy, leaf_id)) STRICT, WITHOUT ROWID""",
        "CREATE TABLE audit (number INTEGER PRIMARY KEY, claim TEXT NOT NULL, body TEXT NOT NULL) STRICT",
        "CREATE TABLE refusals (number INTEGER PRIMARY KEY, claim TEXT NOT NULL, body TEXT NOT NULL) STRICT",
    ),
    (
        "ALTER TABLE journal ADD COLUMN undoes INTEGER",
        "ALTER TABLE journal ADD COLUMN ended INTEGER NOT NULL DEFAULT 0",
        "UPDATE journal SET ended = 1 WHERE verb = 'delete' AND outcome = 'done'",
        "CREATE INDEX journal_ended ON journal (number) WHERE ended = 1",
        # A number never returns, so that dropping an old approval cannot drop a later one.
        """CREATE TABLE approvals (number INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL,
           tbl TEXT NOT NULL, digest TEXT NOT NULL, verb TEXT NOT NULL, key TEXT NOT NULL,
           key_value TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, approved_at TEXT NOT NULL,
           UNIQUE (scope, tbl, digest)) STRICT""",
        """CREATE TABLE holds (scope TEXT NOT NULL, tbl TEXT NOT NULL, key TEXT NOT NULL,
           key_value TEXT NOT NULL, entry INTEGER NOT NULL, held_at TEXT NOT NULL,
           PRIMARY KEY (scope, tbl, key)) STRICT, WITHOUT ROWID""",
    ),
    ("ALTER TABLE own_claims ADD COLUMN signer TEXT NOT NULL DEFAULT ''",),
    # Each body has a checksum from here on; an earlier routerd would take all of them for damaged.
    (),
)
"""Statements from each schema version to the next; published ones never change."""

TABLES = (
    *("claims", "nonces", "revocations", "topologies", "own_claims", "journal", "originals", "pending"),
    *("verdicts", "audit", "refusals", "approvals", "holds"),
)
"""Every table of the present schema."""

_DAMAGED = "routerd will set it aside at its next start, and leaves will enroll again"
_HELD = "another process holds it; stop the other routerd of this state directory"

_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full; nothing was lost; free some space",
    sqlite3.SQLITE_READONLY: "it cannot be written; check its owner, mode and mount",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check its directory's owner, mode and mount",
    sqlite3.SQLITE_PERM: "access is denied; check its owner and mode",
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; read the kernel's log",
    sqlite3.SQLITE_CORRUPT: f"it is damaged; {_DAMAGED}",
    sqlite3.SQLITE_NOTADB: f"it is not a database; {_DAMAGED}",
}


_BEYOND_REPAIR = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def explain(path: Path, error: Failure) -> StoreError:
    """Return the error of a file in words, with its remedy."""
    if isinstance(error, UnicodeDecodeError):
        return DamagedFile(f"state file {path}: it is damaged; {_DAMAGED} (text is not UTF-8)")
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte is the primary code; the rest tells variants apart.
    primary = code & 0xFF if code is not None else None
    words = _REMEDIES.get(primary, "") if primary is not None else ""
    name = getattr(error, "sqlite_errorname", "")
    detail = f"{error}" + (f", {name}" if name else "")
    kind = DamagedFile if primary in _BEYOND_REPAIR else StoreError
    return kind(f"state file {path}: {words} ({detail})" if words else f"state file {path}: {detail}")


def open_store(path: Path, *, clock: Clock, repair: bool = True) -> Store:
    """Open the file `path`, or create it with mode 0600.

    With `repair` routerd sets a damaged file aside, and `Store.salvaged` says what it copied from
    it. A file that cannot be written is read into memory, and `Store.trouble` says why. Without `repair`
    both are a `StoreError`. Raises `StoreError` when the file comes from a newer routerd.
    """
    denials = Denials(path.with_suffix(".denied"))

    def opening(path: Path) -> Opened:
        try:
            return open_file(path)
        except DamagedFile:
            if not repair:
                raise
            salvaged = set_aside(path, clock=clock, prepare=lambda fresh: prepare(fresh, path))
            return attrs.evolve(open_file(path), salvaged=salvaged)

    trouble: StoreError | None = None
    try:
        opened = opening(path)
    except NewerFile:
        raise
    except StoreError as error:
        if not repair:
            raise
        trouble, (memory, whole) = error, _in_memory(path)
        opened = Opened(connection=memory, reader=memory, place=None, whole=whole)
    store = Store(
        opened.connection,
        path=path,
        clock=clock,
        explain=explain,
        reader=opened.reader if opened.reader is not opened.connection else None,
        salvaged=opened.salvaged,
        denials=denials,
        reopen=opening,
        place=opened.place,
        whole=opened.whole,
    )
    try:
        store.recall_revocations()
    except StoreError as error:
        if not repair:
            store.close()
            raise
        trouble = trouble or error
    if trouble is not None:
        store.degrade(trouble)
    return store


def open_file(path: Path) -> Opened:
    """Open the file for writing, and read it whole once; `DamagedFile` when a record is beyond reach."""
    _make_private(path)
    connection = _connected(path)
    try:
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - constants
        return Opened(connection=connection, reader=_connect(path), place=place_of(path))
    except (*FAILURES, StoreError) as error:
        connection.close()
        raise error if isinstance(error, StoreError) else explain(path, error) from error


def _in_memory(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Return what is readable of a file that cannot be opened for writing, and whether that is all of it.

    A file that does not exist may be on a disk that is not mounted, so an empty copy is not all of it.
    """
    whole = False
    copy = _text_as_it_is(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    prepare(copy, path)
    with contextlib.suppress(OSError, *FAILURES), tempfile.TemporaryDirectory(prefix="routerd-") as place:
        # SQLite needs files of its own beside one that it reads, and there is no room for them.
        twin = Path(place) / path.name
        for suffix in ("", "-wal"):
            side = path.with_name(path.name + suffix)
            if side.exists():
                shutil.copyfile(side, twin.with_name(twin.name + suffix))
        copy_records(twin, copy)
        with contextlib.closing(sqlite3.connect(twin)) as read:
            whole = path.exists() and read.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    return copy, whole


def read_store(path: Path, *, clock: Clock) -> Store:
    """Return a copy in memory of what the file `path` holds at this moment.

    The file stays as it is, also one of an earlier routerd. Raises `StoreError` when the file is
    unreadable.
    """
    copy = _text_as_it_is(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        ) as source:
            source.backup(copy)
        prepare(copy, path)
    except (*FAILURES, StoreError) as error:
        copy.close()
        raise error if isinstance(error, StoreError) else explain(path, error) from error
    return Store(copy, path=path, clock=clock, explain=explain)


def _connected(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        prepare(connection, path)
    except (*FAILURES, StoreError) as error:
        connection.close()
        raise error if isinstance(error, StoreError) else explain(path, error) from error
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _text_as_it_is(
            sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        )
    except FAILURES as error:
        raise explain(path, error) from error


def _text_as_it_is(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Let text be read whose bytes are damaged; it can be printed, and JSON refuses it."""
    connection.text_factory = readable_text
    return connection


def prepare(connection: Connection, path: Path) -> None:
    """Set the connection up, check the file, and migrate its schema."""
    # WAL with FULL: a commit is on the disk before it returns, also through a loss of power.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    found = [row[0] for row in connection.execute("PRAGMA quick_check(1)").fetchall()]
    if found != ["ok"]:
        detail = found[0] if found else "no answer"
        raise DamagedFile(f"state file {path}: it is damaged; {_DAMAGED} ({detail})")
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path)
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        if _schema(connection) != _present_schema():
            raise DamagedFile(f"state file {path}: it is damaged; {_DAMAGED} (a table is another)")
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except (*FAILURES, StoreError):
        with contextlib.suppress(*FAILURES):
            connection.execute("ROLLBACK")
        raise


def _schema(connection: Connection) -> list[tuple[str, str]]:
    """Return the tables and indexes of a file; the statements that make them are the same in every file."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    return [(str(name), str(sql)) for name, sql in connection.execute(query).fetchall()]


@functools.cache
def _present_schema() -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        for statements in MIGRATIONS:
            for statement in statements:
                fresh.execute(statement)
        return _schema(fresh)


def _version(connection: Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchall()[0][0])
    if version > len(MIGRATIONS):
        raise NewerFile(
            f"state file {path}: it has schema {version}, and this routerd knows {len(MIGRATIONS)}; "
            "install the newer routerd again"
        )
    return version


def _make_private(path: Path) -> None:
    """Create the file as 0600 before SQLite does; its WAL and index inherit the mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StoreError(
            f"state file {path}: {error.strerror}; check the state directory, or use --state-dir"
        ) from error
