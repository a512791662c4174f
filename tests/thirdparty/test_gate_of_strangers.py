"""The gate of the lab with a stranger's transport and join method in place of the built-in ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.thirdparty.clean_venv import build_wheels

REPOSITORY = Path(__file__).parents[2]
ROUTERD = str(Path(sys.executable).with_name("routerd"))
EXAMPLES = ("transport_vxlan", "join_ed25519")

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for PYTHONPATH: the two examples, built as wheels and installed."""
    root = tmp_path_factory.mktemp("gate")
    sources = [root / name for name in EXAMPLES]
    for source in sources:
        example = REPOSITORY / "examples" / "plugins" / source.name
        shutil.copytree(example, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    wheels = build_wheels(sources, root / "wheels")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    target = root / "site"
    words = [*pip, "--disable-pip-version-check", "--target", str(target), *map(str, wheels)]
    subprocess.run(words, check=True)
    return target


def lab(place: Path, run_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the lab's gate with the examples installed."""
    return subprocess.run(
        [ROUTERD, "lab", "run", "fullmesh", "--json", "--run-dir", str(run_dir), *words],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        env={**os.environ, "PYTHONPATH": str(place)},
    )


def test_the_gate_passes_with_vxlan_and_ed25519(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = lab(place, run, "--transport", "vxlan", "--join", "ed25519")
    verdict = json.loads(done.stdout) if done.stdout else {}
    logs = "\n".join(log.read_text()[-1500:] for log in run.glob("logs/*.log"))
    if "this kernel makes no VXLAN" in logs:
        pytest.skip("this kernel has no vxlan")
    assert (done.returncode, verdict.get("passed")) == (0, True), f"{done.stderr}\n{done.stdout}\n{logs}"
    assert len(verdict["pairs"]) == 12
    links = (run / "evidence" / "links.txt").read_text()
    assert links.count(" vxlan ") == 8, links
    status = (run / "evidence" / "final-routerd-status.txt").read_text()
    assert "tunnels/vxlan" in status
    # What the built-in ones would need is not there: no plugin, no token.
    for file in run.glob("configs/*.yaml"):
        document = yaml.safe_load(file.read_text())
        assert not {"transport_ipip", "enrollment_token"} & set(document["plugins"]), file
        assert "joinTokenFrom" not in file.read_text()
    keys = [file.read_text() for file in run.glob("nodes/*/etc/secrets/join.pem")]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--transport", "transport nobodys: no installed plugin provides it"),
        ("--join", "join method nobodys: no installed plugin provides it"),
    ],
)
def test_an_unknown_name_lists_what_is_installed_and_by_which_plugin(
    place: Path, tmp_path: Path, option: str, words: str
) -> None:
    run = tmp_path / "run"
    done = lab(place, run, option, "nobodys")
    assert done.returncode == 2, done
    assert words in done.stderr
    known = {"--transport": "vxlan by transport_vxlan", "--join": "ed25519 by join_ed25519"}[option]
    assert known in done.stderr
    assert not run.exists()
