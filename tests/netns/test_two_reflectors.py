"""Packets over two route reflectors: what dies, what returns, and what is lost meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

INSIDE = Path(__file__).with_name("inside_two_reflectors.py")


def test_packets_arrive_through_whatever_happens_to_reflectors_and_leaves() -> None:
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0", str(INSIDE)]
    done = subprocess.run(
        ["unshare", "-Urnmpf", "--mount-proc", "--kill-child", *suite],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=INSIDE.parents[2],
    )
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
