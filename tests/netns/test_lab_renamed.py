"""The gate once more, with every shipped transport, routing and join method under another name.

The core holds no name of a plugin but as a default of the SAM dialect: in these files none is left to its
default, and no daemon can load a plugin by the usual name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PLUGINS = {
    "transport_ipip": "renamed_ipip",
    "transport_wireguard": "renamed_wireguard",
    "bgp_ryu": "renamed_bgp",
    "enrollment_token": "renamed_token",
}
EDITS = (
    (r"mode: ipip", "mode: tube"),
    (r"encryption: wireguard", "encryption: armour"),
    (r"(kind: WireGuardInterface\n.*\n      spec:\n)", r"\1        mode: armour\n"),
    (r"(kind: SAMEnrollment(?:Policy|Client)\n.*\n      spec:\n)", r"\1        joinMethod: password\n"),
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory for PYTHONPATH: the renamed plugins, and the lab with files that name them."""
    shutil.copytree(Path(__file__).with_name("renamed_parts"), tmp_path / "renamed_parts")
    facts = tmp_path / "renamed_parts-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: renamed-parts\nVersion: 1.0\n")
    lines = (f"{name} = renamed_parts.{name.removeprefix('renamed_')}\n" for name in PLUGINS.values())
    (facts / "entry_points.txt").write_text("[routerd.plugins.v1]\n" + "".join(lines))
    ignored = shutil.ignore_patterns("__pycache__", "plugins")
    shutil.copytree(ROOT / "plugins/lab/routerd_lab", tmp_path / "routerd_lab", ignore=ignored)
    edited = 0
    for file in sorted((tmp_path / "routerd_lab/configs").glob("fullmesh-*.yaml")):
        text = file.read_text()
        for name, other in PLUGINS.items():
            text = re.sub(rf"(?m)^(plugins: .*)\b{name}\b", rf"\1{other}", text)
        for pattern, by in EDITS:
            text = re.sub(pattern, by, text)
        assert not re.search(rf"mode: ipip|encryption: wireguard|{'|'.join(PLUGINS)}", text), file
        assert text.count("mode: armour") == 1
        assert text.count("joinMethod: password") == 1
        file.write_text(text)
        edited += 1
    assert edited == 5
    return tmp_path


def test_the_gate_passes_with_every_name_exchanged(place: Path) -> None:
    run = place / "run"
    routerd = str(Path(sys.executable).with_name("routerd"))
    words = [routerd, "lab", "run", "fullmesh", "--json", "--run-dir", str(run)]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(place)},
        cwd=place,
    )
    assert done.stdout, done.stderr
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["passed"]) == (0, True), json.dumps(verdict, indent=1)
    assert len(verdict["pairs"]) == 12
    status = (run / "evidence" / "final-routerd-status.txt").read_text()
    assert "renamed_bgp" in status
    assert "bgp_ryu" not in status
