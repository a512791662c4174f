"""A damaged state file: the store sets it aside and copies its readable records, completely or not at all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from routerd.errors import StoreError
from routerd.model.claim import AdmittedClaim, Claim
from routerd.store import DamagedFile, Revocation, Store, UsedNonce, open_store, salvage
from routerd.testing.clock import FakeClock

LEAVES = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routerd.db"


def filled(path: Path, clock: FakeClock) -> None:
    store = open_store(path, clock=clock)
    for number in range(LEAVES):
        name = f"leaf-{number:03}"
        claim = Claim(name=name, policy_ref="p", leaf_id=name, tunnel_address="10.0.0.1")
        nonce = UsedNonce(policy="p", nonce=str(number), leaf_id=name, fingerprint="f" * 200)
        store.admission.commit([AdmittedClaim(claim=claim, admitted_at=clock.now(), expires_at=None), nonce])
    store.admission.commit([revocation(clock)])
    store.originals("sysctl").record("net.ipv4.ip_forward", "0")
    store.close()


def revocation(clock: FakeClock) -> Revocation:
    return Revocation(
        policy="p", leaf_id="gone", nonce="n", name="gone", reason="lost", revoked_at=clock.now()
    )


def torn(path: Path) -> None:
    """Overwrite one page in the middle."""
    body = bytearray(path.read_bytes())
    at = len(body) // 2 // 4096 * 4096
    body[at : at + 4096] = b"\xff" * 4096
    path.write_bytes(body)


def junk(path: Path) -> None:
    path.write_bytes(b"this is no database, and it is long enough to be noticed" * 20)


@pytest.mark.parametrize(("harm", "least"), [(torn, LEAVES // 2), (junk, 0)])
def test_a_damaged_file_is_set_aside_and_its_readable_records_stay(
    harm: Callable[[Path], None], least: int, path: Path, fake_clock: FakeClock
) -> None:
    filled(path, fake_clock)
    harm(path)
    damaged = path.read_bytes()

    store = open_store(path, clock=fake_clock)
    assert store.salvaged is not None
    assert store.salvaged.aside.read_bytes() == damaged
    assert store.salvaged.aside.stat().st_mode & 0o777 == 0o600
    assert f"set aside as {store.salvaged.aside.name}" in str(store.salvaged)
    kept = {each.claim.name for each in store.admitted()}
    assert len(kept) >= least
    assert kept <= {f"leaf-{number:03}" for number in range(LEAVES)}
    # A revoked leaf stays out, whatever became of the file.
    assert store.admission.load().revocations == (revocation(fake_clock),)
    store.close()

    again = open_store(path, clock=fake_clock)
    assert again.salvaged is None
    assert again.whole
    assert not store.whole
    assert {each.claim.name for each in again.admitted()} == kept
    assert salvage.damaged_files(path) == (store.salvaged.aside,)
    again.close()


def test_without_repair_nothing_is_set_aside(path: Path, fake_clock: FakeClock) -> None:
    junk(path)
    before = path.read_bytes()
    with pytest.raises(DamagedFile, match="set it aside at its next start"):
        open_store(path, clock=fake_clock, repair=False)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["copy", "wal", "link", "replace"])
def test_a_failure_at_any_step_loses_nothing(
    step: str, path: Path, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, fake_clock)
    junk(path)
    path.with_name("routerd.db-wal").write_bytes(b"")
    damaged = path.read_bytes()

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    target = {
        "copy": (salvage, "_copy"),
        "wal": (Path, "rename"),
        "link": (os, "link"),
        "replace": (Path, "replace"),
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(*target, fails)
        store = open_store(path, clock=fake_clock)
        assert "No space left on device" in str(store.trouble)
        assert not store.whole
        # What holds, holds; nothing is written, and nothing acknowledged.
        assert store.admission.load().revocations == (revocation(fake_clock),)
        with pytest.raises(StoreError, match="No space left on device"):
            store.originals("sysctl").record("x", "1")
        store.close()
        assert path.read_bytes() == damaged
    store = open_store(path, clock=fake_clock)
    assert store.salvaged is not None
    assert store.admission.load().revocations == (revocation(fake_clock),)
    store.close()


def test_records_that_are_not_json_are_not_copied(path: Path, fake_clock: FakeClock) -> None:
    filled(path, fake_clock)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE claims SET body = 'half' WHERE name = 'leaf-000'")
    connection.close()
    torn(path)
    store = open_store(path, clock=fake_clock)
    assert store.admission.load().quarantined == ()
    store.close()


def test_a_disk_that_is_full_refuses_revocations_too(
    path: Path, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store = open_store(path, clock=fake_clock)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreError, match=r"routerd\.denied: it cannot be written"):
            store.admission.commit([revocation(fake_clock)])
    assert store.admission.load().revocations == ()
    later = attrs.evolve(revocation(fake_clock), lifted_at=datetime(2026, 7, 1, tzinfo=UTC))
    store.admission.commit([revocation(fake_clock)])
    store.admission.commit([later])
    assert store.admission.load().revocations == (later,)
    store.close()
