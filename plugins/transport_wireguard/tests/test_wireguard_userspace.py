"""wireguard-go with real devices and packets, in a namespace that ends with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("wireguard-go", path=PATH) is None, reason="needs wireguard-go"),
    pytest.mark.skipif(shutil.which("wg", path=PATH) is None, reason="needs wireguard-tools"),
]


def test_wireguard_go_keeps_the_contract_and_carries_packets() -> None:
    inside = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(HERE / "inside_wireguard.py"),
    ]
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child", "sh", "-c"),
            *('mount -t tmpfs none /run && ip link set lo up && exec "$@"', "sh", *inside),
        ],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        cwd=HERE.parents[2],
        env={**os.environ, "PATH": PATH, "PYTHONPATH": str(HERE)},
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
