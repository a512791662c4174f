"""What neighbours announce, in this host's kernel: which routes, how many next hops, and under a flap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

INSIDE = Path(__file__).with_name("inside_learned_routes.py")


def test_learned_routes_are_the_kernels() -> None:
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INSIDE)]
    done = subprocess.run(
        ["unshare", "-Urnmpf", "--mount-proc", "--kill-child", *suite],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=INSIDE.parents[2],
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
