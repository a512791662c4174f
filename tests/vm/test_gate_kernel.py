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
PATIENCE = "15"
"""An emulated processor is some 20 times slower."""
MODULES = ("ipip", "ip_gre", "fou", "wireguard")

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


def missing() -> str:
    """Return the module that this kernel lacks, loading those that it has."""
    for module in MODULES:
        done = subprocess.run(["modprobe", "-q", module], check=False, env={"PATH": "/usr/sbin:/sbin"})
        if done.returncode:
            return module
    return ""


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a run directory; what a run leaves as evidence goes to the results of the machine."""
    if lacking := missing():
        pytest.skip(f"this kernel has no {lacking}")
    directory = Path("/tmp", f"gate-{request.node.callspec.params['topology']}-{tmp_path.name[-4:]}")
    yield directory
    for part in ("evidence", "logs", "configs"):
        if (directory / part).is_dir() and EXCHANGE.is_dir():
            shutil.copytree(directory / part, EXCHANGE / directory.name / part)
    shutil.rmtree(directory, ignore_errors=True)


# By the name of what a device belongs to: the kind that the kernel gives it, and the MTU.
IPIP_IN_WIREGUARD = {"wg-sam": ("wireguard", 1420), "sam-transport-fullmesh": ("ipip", 1400)}
ON_A_PRIVATE_WAN = {"sam-transport-wan-fou": ("ipip", 1472), "sam-transport-wan-gre": ("gre", 1472)}


@pytest.mark.parametrize(
    ("topology", "expected", "count"),
    [
        ("fullmesh", IPIP_IN_WIREGUARD, 5 + 8),
        ("mixed", {**IPIP_IN_WIREGUARD, **ON_A_PRIVATE_WAN}, 3 + 8),
    ],
    ids=["fullmesh", "mixed"],
)
def test_the_fabric_stands_on_the_kernels_tunnels(
    topology: str, expected: dict[str, tuple[str, int]], count: int, place: Path
) -> None:
    done = subprocess.run(
        [
            ROUTERD,
            "lab",
            "run",
            topology,
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
    assert len(ours) == count, "\n".join(ours)
    for line in ours:
        _, _, kind, _, mtu, owner = line.split()
        assert (kind, int(mtu)) in [found for name, found in expected.items() if name in owner], line
    assert {name for name in expected if not any(name in line for line in ours)} == set()
