"""A desk whose disk is full, or may not be written; run by `test_admission_disk.py` in its own namespace."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.admission.enrollment_world import QuickClock, Reflector, claim, signed

from routerd.errors import StoreError
from routerd.model.specs.claim_codec import claim_to_document
from routerd.model.specs.claim_text import digest as digest_of
from routerd.store import open_store


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    return ballast


async def test_a_full_disk_admits_and_revokes_nobody_and_forgets_nobody(disk: Path) -> None:
    rr = Reflector(disk / "routerd.db", QuickClock())
    store = open_store(rr.path, clock=rr.clock)
    desk = rr.desk(store)
    first = await signed(claim())
    await desk.submit(claim_to_document(first), None)
    ballast = fill(disk)
    failures = []
    for number in range(40):  # the log of SQLite has some room of its own left
        other = await signed(claim(f"leaf-{number}", 40 + number))
        try:
            await desk.submit(claim_to_document(other), None)
        except StoreError as error:
            failures.append(str(error))
    refused = len(failures)
    assert refused > 0
    assert all("the disk is full" in text for text in failures)
    with pytest.raises(StoreError, match=r"disk is full|No space left"):
        await desk.revoke("leaf-a", "lost", None)
    held = {each.claim.name for each in desk.admitted()}
    assert held == {each.claim.name for each in store.admitted()}
    assert len(held) == 41 - refused
    served = await desk.topology("rrs", first.ref, digest=digest_of(first), source=None)
    assert served.rr_set
    ballast.unlink()
    for number in range(40):
        other = await signed(claim(f"leaf-{number}", 40 + number))
        await desk.submit(claim_to_document(other), None)
    await desk.revoke("leaf-a", "lost", None)
    await desk.aclose()
    store.close()
    again = open_store(rr.path, clock=rr.clock)
    assert len(again.admitted()) == 41
    assert [each.claim.name for each in again.admitted() if each.claim.revoked] == ["leaf-a"]
    again.close()


async def test_a_disk_that_may_not_be_written_is_named(disk: Path) -> None:
    rr = Reflector(disk / "routerd.db", QuickClock())
    open_store(rr.path, clock=rr.clock).close()
    read_only(disk)
    store = open_store(rr.path, clock=rr.clock)
    assert "Read-only file system; check the state directory" in str(store.trouble)
    with pytest.raises(StoreError, match="Read-only file system"):
        store.originals("sysctl").record("x", "1")
    store.close()


async def test_a_damaged_file_on_a_full_disk_stays_where_it_is(disk: Path) -> None:
    rr = Reflector(disk / "routerd.db", QuickClock())
    store = open_store(rr.path, clock=rr.clock)
    desk = rr.desk(store)
    await desk.submit(claim_to_document(await signed(claim())), None)
    await desk.revoke("leaf-a", "lost", None)
    await desk.aclose()
    store.close()
    damaged = b"\xff" * rr.path.stat().st_size
    rr.path.write_bytes(damaged)
    ballast = fill(disk)
    store = open_store(rr.path, clock=rr.clock)
    assert "cannot make a new one beside it" in str(store.trouble)
    # Who was revoked stays out, although nothing else is known.
    assert [each.leaf_id for each in store.admission.load().revocations] == ["leaf-a"]
    store.close()
    assert rr.path.read_bytes() == damaged
    ballast.unlink()
    again = open_store(rr.path, clock=rr.clock)
    assert again.salvaged is not None
    assert [each.leaf_id for each in again.admission.load().revocations] == ["leaf-a"]
    again.close()
