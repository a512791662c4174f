"""Two sites and a hub on the kernel's tunnels: sizes, restarts at any moment, nothing left, nothing lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.vm import fabric_world
from tests.vm.test_gate_kernel import missing

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3000)]


def test_what_routerd_builds_carries_and_survives() -> None:
    if lacking := missing():
        pytest.skip(f"this kernel has no {lacking}")
    words = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    path = Path(__file__).with_name("inside_fabric_kernel.py")
    done = fabric_world.enter(*words, "--timeout=2900", str(path), seconds=2950)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
