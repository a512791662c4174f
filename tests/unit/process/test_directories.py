"""Directories of state and run are private, and short enough for a socket."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from routerd.errors import StoreError
from routerd.process.directories import Directories, fault


def test_directories_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Relative, because the path of a temporary directory may be too long for a socket.
    monkeypatch.chdir(tmp_path)
    directories = Directories(state=Path("a/state"), run=Path("run"))
    directories.make()
    paths = [directories.state, directories.run, *directories.plugin("x")]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o700}
    directories.make()
    assert directories.admin_socket == Path("run/routerd.sock")


def test_a_run_directory_too_long_for_a_socket_is_refused_before_it_is_made(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    with pytest.raises(StoreError, match="too long for a socket's path"):
        Directories(state=tmp_path, run=long).make()
    assert not long.exists()


def test_a_file_in_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("state").touch()
    with pytest.raises(StoreError, match="state cannot be made: File exists; use --state-dir"):
        Directories(state=Path("state"), run=Path("run")).make()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o720])
@pytest.mark.parametrize("name", ["state", "run"])
def test_a_directory_that_others_may_write_to_is_refused_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, mode: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    Path(name).chmod(mode)
    with pytest.raises(StoreError) as caught:
        Directories(state=Path("state"), run=Path("run")).make()
    assert str(caught.value) == (
        f"{name}: others than its owner may write to it (mode {mode:04o}); see what is in it, "
        f"then chmod go-w {name}, or use --state-dir or --run-dir"
    )
    assert stat.S_IMODE(Path(name).stat().st_mode) == mode


def test_a_directory_that_others_may_only_read_keeps_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It may be one that the host shares; every file of ours in it is private by itself.
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir(mode=0o755)
    Directories(state=Path("state"), run=Path("run")).make()
    assert stat.S_IMODE(Path("run").stat().st_mode) == 0o755


def test_a_plugins_directory_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directories = Directories(state=Path("state"), run=Path("run"))
    directories.make()
    state, run = directories.plugin("x")
    for path in (state.parent, state, run):
        path.chmod(0o755)
    directories.plugin("x")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (state.parent, state, run)} == {0o700}
    run.chmod(0o775)
    with pytest.raises(StoreError, match="run/x: others than its owner may write to it"):
        directories.plugin("x")


@pytest.mark.parametrize(("owner", "user", "safe"), [(0, 0, True), (7, 7, True), (0, 7, True), (7, 0, False)])
def test_a_directory_of_somebody_else_is_not_used(owner: int, user: int, safe: bool) -> None:
    words = fault(Path("state"), mode=0o700, owner=owner, user=user)
    assert words == ("" if safe else "state: it belongs to user 7; chown it to user 0")
