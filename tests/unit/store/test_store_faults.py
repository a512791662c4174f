"""A crash, a full disk or a damaged file at any point: all or nothing, and an error with a remedy."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path

import attrs
import pytest

from routerd.errors import StoreError
from routerd.model.change import Change
from routerd.model.claim import AdmittedClaim, Claim, Topology
from routerd.model.report.claims import AuditEntry
from routerd.store import Approval, Hold, Revocation, Store, UsedNonce, database, open_store
from routerd.store.access import Connection, Rows
from routerd.store.database import MIGRATIONS, explain, prepare
from routerd.store.records import Forget, PendingClaim, Verdict
from routerd.store.store import RETRY_SECONDS
from routerd.testing.clock import FakeClock

NONCE = UsedNonce(policy="p", nonce="n", leaf_id="leaf-a", fingerprint="f")
CLAIM = Claim(name="leaf-a", policy_ref="p", leaf_id="leaf-a", tunnel_address="10.0.0.1")
NOTE = AuditEntry(at=datetime(2026, 6, 28, tzinfo=UTC), decision="admitted", claim="leaf-a")
CHANGE = Change(key=IPv4Network("10.0.0.0/8"), before=None, after="x")
WHEN = datetime(2026, 6, 28, tzinfo=UTC)
APPROVAL = Approval(
    scope="aws",
    table="routes",
    digest="d",
    verb="create",
    key="10.0.0.0/8",
    key_value="10.0.0.0/8",
    before=None,
    after="x",
    approved_at=WHEN,
)
HOLD = Hold(scope="aws", table="routes", key="10.0.0.0/8", key_value="10.0.0.0/8", entry=2, held_at=WHEN)


class FaultyConnection:
    """Passes each statement to a real connection, but fails the nth."""

    def __init__(self, inner: Connection) -> None:
        self.inner = inner
        self.countdown = 0
        self.statements = 0
        self.after = False

    def execute(self, sql: str, parameters: Sequence[str | int | None] = (), /) -> Rows:
        self.statements += 1
        if self.countdown and sql != "ROLLBACK":
            self.countdown -= 1
            if not self.countdown:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                error.sqlite_errorname = "SQLITE_FULL"
                raise error
        return self.inner.execute(sql, parameters)

    def close(self) -> None:
        self.inner.close()


def faulty(path: Path, clock: FakeClock) -> tuple[Store, FaultyConnection]:
    connection = FaultyConnection(sqlite3.connect(path, isolation_level=None))
    prepare(connection, path)
    return Store(connection, path=path, clock=clock, explain=explain), connection


def admitted(clock: FakeClock) -> AdmittedClaim:
    return AdmittedClaim(claim=CLAIM, admitted_at=clock.now(), expires_at=clock.now() + timedelta(days=1))


def _admit(store: Store, clock: FakeClock) -> None:
    store.admission.commit([admitted(clock), NONCE])


def _revoke(store: Store, clock: FakeClock) -> None:
    gone = Revocation(
        policy="p", leaf_id="leaf-a", nonce="n", name="leaf-a", reason="", revoked_at=clock.now()
    )
    found = admitted(clock)
    ended = attrs.evolve(found, claim=attrs.evolve(found.claim, revoked=True), expires_at=clock.now())
    store.admission.commit([gone, ended, NOTE])


def _hold(store: Store, clock: FakeClock) -> None:
    now = clock.now()
    waiting = PendingClaim(claim=CLAIM, digest="d", source=None, first_seen=now, expires_at=now)
    store.admission.commit([waiting, NOTE])


def _approve(store: Store, clock: FakeClock) -> None:
    verdict = Verdict(
        policy="p",
        leaf_id="leaf-a",
        name="leaf-a",
        substance="s",
        approved=True,
        reason="",
        decided_at=clock.now(),
    )
    store.admission.commit([verdict, admitted(clock), Forget(name="leaf-a"), NOTE])


def _renew(store: Store, clock: FakeClock) -> None:
    newer = attrs.evolve(admitted(clock), expires_at=clock.now() + timedelta(days=2))
    store.admission.commit([newer, attrs.evolve(NONCE, nonce="second"), NOTE])


WRITES: dict[str, Callable[[Store, FakeClock], object]] = {
    "admit": _admit,
    "revoke": _revoke,
    "hold": _hold,
    "approve": _approve,
    "renew": _renew,
    "topology": lambda store, _: store.keep_topology(Topology(rr_set="x", reflectors=())),
    "own claim": lambda store, _: store.keep_own_claim(CLAIM),
    "begin": lambda store, _: store.journal.begin("aws", "routes", [CHANGE]),
    "finish": lambda store, _: store.journal.finish({1: "done"}),
    "undo": lambda store, _: store.journal.begin_undo("aws", "routes", CHANGE, undoes=1),
    "finish an undo": lambda store, _: store.journal.finish({2: "done"}),
    "refuse an undo": lambda store, _: store.journal.finish({2: "refused: no"}),
    "decide": lambda store, _: store.journal.decide([APPROVAL], [HOLD]),
    "drop": lambda store, _: store.journal.drop_approvals([1]),
    "original": lambda store, _: store.originals("s").record("k", "v"),
    "forget": lambda store, _: store.originals("s").forget("kept"),
}


def content(store: Store) -> tuple[object, ...]:
    return (
        store.admission.load(),
        store.admission.used_nonce("p", "n"),
        store.admission.audit(100),
        store.topologies(),
        store.own_claims(),
        store.journal.entries(),
        store.journal.approvals(),
        store.journal.holds(),
        store.originals("s").all(),
    )


@pytest.mark.parametrize("name", WRITES)
def test_a_failure_at_any_statement_changes_nothing(name: str, tmp_path: Path, fake_clock: FakeClock) -> None:
    write = WRITES[name]
    for nth in range(1, 20):
        path = tmp_path / f"{nth}.db"
        store, connection = faulty(path, fake_clock)
        if name != "admit":
            _admit(store, fake_clock)
        store.journal.begin("aws", "routes", [CHANGE])
        store.journal.begin_undo("aws", "routes", CHANGE, undoes=1)
        store.journal.decide([attrs.evolve(APPROVAL, digest="kept")])
        store.originals("s").record("kept", "v")
        before = content(store)
        connection.countdown = nth
        failure = ""
        try:
            write(store, fake_clock)
        except StoreError as error:
            failure = str(error)
        connection.countdown = 0
        if not failure:
            assert nth > 2, "the write never reached the connection"
            return
        assert f"{path}: the disk is full" in failure
        assert content(store) == before
        write(store, fake_clock)  # the connection is usable again
        store.close()
    pytest.fail("the write has more statements than were tried")


def test_a_read_error_has_words_too(tmp_path: Path, fake_clock: FakeClock) -> None:
    store, connection = faulty(tmp_path / "routerd.db", fake_clock)
    connection.countdown = 1
    with pytest.raises(StoreError, match=r"routerd\.db: the disk is full"):
        store.admitted()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_FULL, "free some space"),
        (sqlite3.SQLITE_READONLY, "cannot be written"),
        (sqlite3.SQLITE_IOERR_FSYNC, "kernel's log"),
        (sqlite3.SQLITE_CORRUPT, "set it aside"),
        (sqlite3.SQLITE_BUSY, "stop the other routerd"),
        (sqlite3.SQLITE_INTERNAL, "boom"),
    ],
)
def test_each_failure_has_its_remedy(code: int, words: str) -> None:
    error = sqlite3.OperationalError("boom")
    error.sqlite_errorcode = code
    text = str(explain(Path("/x/routerd.db"), error))
    assert "/x/routerd.db" in text
    assert words in text


def test_a_file_of_a_newer_routerd_is_refused(tmp_path: Path, fake_clock: FakeClock) -> None:
    path = tmp_path / "routerd.db"
    open_store(path, clock=fake_clock).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StoreError, match="install the newer routerd"):
        open_store(path, clock=fake_clock)


def test_a_damaged_record_is_quarantined_without_the_others(tmp_path: Path, fake_clock: FakeClock) -> None:
    path = tmp_path / "routerd.db"
    store = open_store(path, clock=fake_clock)
    _admit(store, fake_clock)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO claims VALUES ('x', '{}')")
        connection.execute("INSERT INTO revocations VALUES ('p', 'leaf-x', 'n', 'no json')")
    connection.close()
    state = store.admission.load()
    assert [each.claim.name for each in state.admitted] == ["leaf-a"]
    assert [each.name for each in state.quarantined] == ["x"]
    assert "damaged" in state.quarantined[0].reason
    # A revocation with a readable key and a damaged body still revokes.
    assert [(each.leaf_id, each.lifted_at) for each in state.revocations] == [("leaf-x", None)]


def test_a_missing_directory_is_named(tmp_path: Path, fake_clock: FakeClock) -> None:
    path = tmp_path / "none" / "routerd.db"
    with pytest.raises(StoreError, match=os.strerror(errno.ENOENT)):
        open_store(path, clock=fake_clock, repair=False)
    store = open_store(path, clock=fake_clock)
    assert os.strerror(errno.ENOENT) in str(store.trouble)
    assert store.admitted() == ()
    # The disk may not be mounted, so nobody may conclude that there are no leaves.
    assert not store.whole
    store.close()


def test_a_failed_migration_leaves_no_part_of_the_schema(tmp_path: Path, fake_clock: FakeClock) -> None:
    path = tmp_path / "routerd.db"
    for nth in range(4, 18):
        connection = FaultyConnection(sqlite3.connect(path, isolation_level=None))
        connection.countdown = nth
        with pytest.raises(sqlite3.OperationalError):
            prepare(connection, path)
        connection.close()
    assert open_store(path, clock=fake_clock).admitted() == ()


_WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from routerd.model.claim import AdmittedClaim, Claim
from routerd.process.clock import SystemClock
from routerd.store import UsedNonce, open_store
store = open_store(Path(sys.argv[1]), clock=SystemClock())
for n in range(100_000):
    claim = Claim(name=f"leaf-{n}", policy_ref="p", leaf_id=f"leaf-{n}", tunnel_address="10.0.0.1")
    nonce = UsedNonce(policy="p", nonce=str(n), leaf_id=claim.leaf_id, fingerprint="f")
    admitted = AdmittedClaim(claim=claim, admitted_at=datetime.now(UTC), expires_at=None)
    store.admission.commit([admitted, nonce])
    print(n, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 7, 23])
def test_an_acknowledged_write_survives_a_kill(
    acknowledged: int, tmp_path: Path, fake_clock: FakeClock
) -> None:
    path = tmp_path / "routerd.db"
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        last = -1
        while last < acknowledged:
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = [int(line) for line in writer.stdout.read().splitlines() if line]
    last = max([last, *rest])
    store = open_store(path, clock=fake_clock)
    names = {found.claim.name for found in store.admitted()}
    assert {f"leaf-{n}" for n in range(last + 1)} <= names
    # Claim and nonce are one transaction: never the one without the other.
    assert all(store.admission.used_nonce("p", name.removeprefix("leaf-")) is not None for name in names)
    store.close()


# --- a file that loses its place, or takes no writes ---------------------------------------------------


async def test_a_file_that_was_removed_takes_nothing_until_it_is_written_again(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    place = tmp_path / "state"
    place.mkdir()
    store = open_store(place / "routerd.db", clock=fake_clock)
    store.admission.commit([admitted(fake_clock)])
    (place / "routerd.db").rename(tmp_path / "kept")
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    with pytest.raises(StoreError, match="it is gone and cannot be written again"):
        store.originals("sysctl").record("net.x", "0")
    assert "gone" in str(store.trouble)
    assert [each.claim.name for each in store.admitted()] == ["leaf-a"]
    place.mkdir()
    with pytest.raises(StoreError, match="gone"):  # not tried again at every write
        store.originals("sysctl").record("net.x", "0")
    await fake_clock.advance(RETRY_SECONDS)
    store.originals("sysctl").record("net.x", "0")
    assert store.trouble is None
    store.close()
    again = open_store(place / "routerd.db", clock=fake_clock)
    assert [each.claim.name for each in again.admitted()] == ["leaf-a"]
    assert again.originals("sysctl").all() == {"net.x": "0"}
    assert (place / "routerd.db").stat().st_mode & 0o777 == 0o600
    again.close()


def test_another_file_in_its_place_is_left_alone(tmp_path: Path, fake_clock: FakeClock) -> None:
    path = tmp_path / "routerd.db"
    store = open_store(path, clock=fake_clock)
    path.rename(tmp_path / "old")
    path.write_bytes(b"somebody's")
    with pytest.raises(StoreError, match="another file is in its place"):
        store.admission.commit([admitted(fake_clock)])
    assert path.read_bytes() == b"somebody's"
    store.close()


async def test_a_disk_that_is_full_at_the_start_is_used_as_soon_as_it_has_room(
    tmp_path: Path, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "routerd.db"
    store = open_store(path, clock=fake_clock)
    store.admission.commit([admitted(fake_clock)])
    store.close()

    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise explain(path, error)

    with monkeypatch.context() as patch:
        patch.setattr(database, "_connected", full)
        store = open_store(path, clock=fake_clock)
        assert [each.claim.name for each in store.admitted()] == ["leaf-a"]
        assert "the disk is full" in str(store.trouble)
        assert store.whole
        with pytest.raises(StoreError, match="the disk is full"):
            store.admission.commit([NONCE])
        await fake_clock.advance(RETRY_SECONDS)
        with pytest.raises(StoreError, match="the disk is full"):
            store.admission.commit([NONCE])
    await fake_clock.advance(RETRY_SECONDS)
    assert store.trouble is None
    store.admission.commit([NONCE])
    assert store.admission.used_nonce("p", "n") == NONCE
    store.close()


# --- damaged bits ---------------------------------------------------------------------------------------


def flipped(path: Path, body: bytes, bit: int) -> None:
    for suffix in ("-wal", "-shm", ".denied", ".new"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    for aside in path.parent.glob("*.damaged-*"):
        aside.unlink()
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)


def state_of(store: Store) -> tuple[object, ...]:
    state = store.admission.load()
    return state.admitted, state.revocations, store.topologies(), store.own_claims()


EVERY = int(os.environ.get("ROUTERD_FLIPS", "641"))
"""One bit of so many is flipped; a prime, so that every part of a page has its turn. 1 flips them all."""


@pytest.mark.timeout(0)
def test_no_flipped_bit_keeps_a_router_down_or_changes_what_it_believes(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    path = tmp_path / "routerd.db"
    store = open_store(path, clock=fake_clock)
    gone = Revocation(policy="p", leaf_id="x", nonce="n", name="x", reason="r", revoked_at=fake_clock.now())
    topology = Topology(
        rr_set="s", reflectors=(), claim_digest="d", fetched_at=fake_clock.now(), expires_at=None
    )
    store.admission.commit([admitted(fake_clock), gone, NONCE, NOTE])
    store.keep_topology(topology)
    store.keep_own_claim(CLAIM, "signer")
    whole = state_of(store)
    store.close()
    body = path.read_bytes()
    told = 0
    for bit in range(0, len(body) * 8, EVERY):
        flipped(path, body, bit)
        store = open_store(path, clock=fake_clock)
        claims, revocations, topologies, own = state_of(store)
        # What is there is what was there; what is lost is told, or fetched and signed again.
        assert set(claims) <= set(whole[0]), bit  # type: ignore[call-overload]
        assert topologies in ({}, whole[2]), bit
        assert own in ({}, whole[3]), bit
        lost = len(claims) < 1
        assert not lost or store.salvaged is not None or store.admission.load().quarantined, bit
        told += lost
        assert len(revocations) <= 2, bit
        store.originals("sysctl").record("net.x", "0")
        store.close()
    assert told
