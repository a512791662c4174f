"""A plugin that cannot be used: one sentence, exit status 2, and nothing is touched, by whole programs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.plugins.plugin_world import World

PROGRAM = "from routerd.cli import main; main()"
FILE = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: here}
plugins: [%s]
spec: {resources: []}
"""
PLUGIN = """
import routerd
from routerd.spi import PluginInfo, TransportMode

def create(context, options):
    %(create)s

@routerd.hookimpl
def routerd_plugin_info():
    return PluginInfo(name="%(name)s", api=%(api)s, summary="for a test")

@routerd.hookimpl
def routerd_transports():
    return [TransportMode(kind="odd", create=create)]
"""
DAEMON = ""
BROKEN = {
    "two of one name": (
        {"one": {}, "two": {}},
        "transport mode odd: both one and two provide it; enable one of them",
    ),
    "an old api": ({"old": {"api": (0, 9)}}, "plugin old: it needs plugin API 0.9; this routerd has 1.0"),
    "a newer api": ({"new": {"api": (1, 99)}}, "plugin new: it needs plugin API 1.99; this routerd has 1.0"),
    "create fails": (
        {"bad": {"create": "raise ValueError('no such device')"}},
        "plugin bad: provider odd: `create` failed: ValueError('no such device')",
    ),
}


@pytest.fixture
def short() -> Iterator[Path]:
    """Return a directory with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="r") as place:
        yield Path(place)


@pytest.mark.parametrize("words", [DAEMON, "validate", "apply --once"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_plugin_that_cannot_be_used(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch, words: str, case: str
) -> None:
    plugins, sentence = BROKEN[case]
    install = World(tmp_path, monkeypatch)
    for name, more in plugins.items():
        facts = {"name": name, "api": (1, 0), "create": "return object()", **more}
        install(name, PLUGIN % facts)
    file, state, run = tmp_path / "router.yaml", tmp_path / "state", short / "run"
    file.write_text(FILE % ", ".join(plugins))
    argv = ["--config", file, "--state-dir", state, "--run-dir", run, *words.split()]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    if words == "validate" and case == "create fails":
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 2, done.stderr
    (line,) = [each for each in done.stderr.splitlines() if sentence in each]
    assert "Traceback" not in done.stderr
    assert line.endswith(sentence)
    if case == "create fails":
        assert not [each for each in done.stderr.splitlines() if "changed" in each or "created" in each]
    else:
        assert done.stderr.splitlines()[-1] == "routerd: 1 problem; nothing was changed"
        assert not state.exists()
        assert not run.exists()
