"""Secrets come from files and the environment, and show up nowhere else."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from routerd.config.secrets import LONGEST, resolve
from routerd.errors import ConfigError
from routerd.model.specs import SecretSource


def test_a_file_is_read_and_trimmed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("  join-token \n")
    assert resolve(SecretSource(file=path)) == "join-token"


def test_the_environment_is_read_and_trimmed() -> None:
    assert resolve(SecretSource(env="TOKEN"), environ={"TOKEN": " t\n"}) == "t"


def test_base64_is_decoded_even_in_lines_and_for_random_bytes(tmp_path: Path) -> None:
    raw = bytes(range(256))
    path = tmp_path / "token"
    path.write_bytes(base64.encodebytes(raw))
    assert resolve(SecretSource(file=path, base64=True)).encode(errors="surrogateescape") == raw


@pytest.mark.parametrize(
    ("content", "base64_", "words"),
    [
        (b"", False, "empty"),
        (b" \n", False, "empty"),
        (b"top-secret!", True, "not base64"),
        (b"top-secret" * LONGEST, False, "larger than"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_shown(
    content: bytes, base64_: bool, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as wrong:
        resolve(SecretSource(file=path, base64=base64_))
    assert str(path) in str(wrong.value)
    assert "top-secret" not in str(wrong.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=os.strerror(2)) as wrong:
        resolve(SecretSource(file=tmp_path / "none"))
    assert str(tmp_path / "none") in str(wrong.value)


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="environment variable TOKEN: it is not set"):
        resolve(SecretSource(env="TOKEN"), environ={})


def test_a_source_that_names_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither file nor env"):
        resolve(SecretSource())
