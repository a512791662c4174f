"""The userspace backend with real devices, sockets and processes, in a namespace that ends with the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

HERE = Path(__file__).parent


@pytest.mark.parametrize("suite", ["contract", "traffic", "gre", "life"])
def test_userspace(suite: str) -> None:
    inside = HERE / f"inside_ipip_{suite}.py"
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(inside)]
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child", "sh", "-c"),
            *('mount -t tmpfs none /run && ip link set lo up && exec "$@"', "sh", *words),
        ],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=HERE.parents[2],
        env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
