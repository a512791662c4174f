"""Private key files."""

from __future__ import annotations

import stat
import subprocess
import sys
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


def test_a_process_without_the_library_asks_another_one(tmp_path: Path) -> None:
    """The daemon's memory is spared, and the answer is the same."""
    key = ensure_private_key(tmp_path / "key")
    code = (
        "import sys\nfrom routerd_transport_wireguard.curve import new_private_key\n"
        "from routerd_transport_wireguard.keys import public_key_of\n"
        "print(public_key_of(bytes.fromhex(sys.argv[1])))\nprint(len(new_private_key()))\n"
        "assert 'cryptography' not in sys.modules\n"
    )
    words = [sys.executable, "-c", code, key.hex()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [public_key_of(key), "32"]


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cryptography", raising=False)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(TransientError, match=r"the process that computes keys: .*No such file"):
        public_key_of(b"\x41" * 32)
