"""Private key files."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from routerd.errors import PermanentError, TransientError
from routerd_transport_wireguard.keys import ensure_private_key, public_key_of


def test_a_missing_key_is_made_private_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "state" / "keys" / "private.key"
    first = ensure_private_key(path)
    assert ensure_private_key(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["private.key"]


def test_the_public_key_is_the_one_that_wg_computes(tmp_path: Path) -> None:
    path = tmp_path / "private.key"
    key = ensure_private_key(path)
    wg = subprocess.run(["wg", "pubkey"], input=path.read_bytes(), capture_output=True, check=True)
    assert public_key_of(key) == wg.stdout.decode().strip()


def test_a_dry_run_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="dry run"):
        ensure_private_key(tmp_path / "private.key", read_only=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "not a key!", "YWJj"])
def test_a_file_without_a_key_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "private.key"
    path.write_text(text)
    with pytest.raises(PermanentError, match=r"private\.key"):
        ensure_private_key(path)
    assert path.read_text() == text
