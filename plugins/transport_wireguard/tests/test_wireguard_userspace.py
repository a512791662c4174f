"""wireguard-go with real devices, processes and packets, in a namespace that ends with the test."""

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
    pytest.mark.timeout(900),
    *(
        pytest.mark.skipif(shutil.which(each, path=PATH) is None, reason=f"needs {each}")
        for each in ("wireguard-go", "wg", "nft")
    ),
]


@pytest.mark.parametrize("suite", ["contract", "traffic", "life"])
def test_wireguard_go(suite: str) -> None:
    inside = HERE / f"inside_wireguard_{suite}.py"
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(inside)]
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child", "sh", "-c"),
            # Not exec: whose parent ends becomes a child of process 1, which must not be the test.
            *('mount -t tmpfs none /run && ip link set lo up && "$@"; exit $?', "sh", *words),
        ],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=HERE.parents[2],
        env={**os.environ, "PATH": PATH},
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
