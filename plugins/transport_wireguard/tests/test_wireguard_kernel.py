"""The kernel backend on a kernel that has the module, and against wireguard-go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3000)]

HERE = Path(__file__).parent
PROBE = """
import asyncio, sys
from routerd.testing.live import real_kernel
sys.exit(not asyncio.run(real_kernel().supports("wireguard")))
"""


def _inside(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child", "sh", "-c"),
            *(
                'mount -t tmpfs none /run && ip link set lo up && "$@"; exit $?',
                "sh",
                sys.executable,
                *words,
            ),
        ],
        capture_output=True,
        text=True,
        timeout=2950,
        check=False,
        cwd=HERE.parents[2],
        env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
    )


def test_wireguard_of_the_kernel() -> None:
    if _inside("-c", PROBE).returncode:
        pytest.skip("this kernel has no WireGuard")
    done = _inside(
        "-m",
        "pytest",
        "-q",
        "--timeout=2900",
        "-p",
        "no:cacheprovider",
        str(HERE / "inside_wireguard_kernel.py"),
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
