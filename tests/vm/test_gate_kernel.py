"""The acceptance test on the kernel's own tunnels: four sites, twelve pairs, evidence as on a live run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.vm.machine import EXCHANGE

ROUTERD = str(Path(sys.executable).with_name("routerd"))
PATIENCE = "60"
"""An emulated processor is some 20 times slower, and does other work beside."""
MODULES = ("ipip", "ip_gre", "wireguard")

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3000)]


def missing() -> str:
    """Return the module that this kernel lacks, loading those that it has."""
    for module in MODULES:
        done = subprocess.run(["modprobe", "-q", module], check=False, env={"PATH": "/usr/sbin:/sbin"})
        if done.returncode:
            return module
    return ""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Return a run directory; what a run leaves as evidence goes to the results of the machine."""
    if lacking := missing():
        pytest.skip(f"this kernel has no {lacking}")
    directory = Path("/tmp", f"gate-{tmp_path.name[-4:]}")
    yield directory
    for part in ("evidence", "logs", "configs"):
        if (directory / part).is_dir() and EXCHANGE.is_dir():
            shutil.copytree(directory / part, EXCHANGE / directory.name / part)
    shutil.rmtree(directory, ignore_errors=True)


# By the name of what a device belongs to: the kind that the kernel gives it, and the MTU.
EXPECTED = {"wg-sam": ("wireguard", 1420), "sam-transport-fullmesh": ("ipip", 1400)}
COUNT = 5 + 8


def test_the_fabric_stands_on_the_kernels_tunnels(place: Path) -> None:
    done = subprocess.run(
        [
            ROUTERD,
            "lab",
            "run",
            "fullmesh",
            "--json",
            "--as-root",
            "--patience",
            PATIENCE,
            "--run-dir",
            str(place),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["passed"]) == (0, True), json.dumps(verdict, indent=1)
    assert len(verdict["pairs"]) == 12
    assert all(pair["ping"] and pair["ssh"] for pair in verdict["pairs"])
    ours = [
        line for line in (place / "evidence" / "links.txt").read_text().splitlines() if "routerd:" in line
    ]
    assert len(ours) == COUNT, "\n".join(ours)
    for line in ours:
        _, _, kind, _, mtu, owner = line.split()
        assert (kind, int(mtu)) in [found for name, found in EXPECTED.items() if name in owner], line
    assert {name for name in EXPECTED if not any(name in line for line in ours)} == set()
