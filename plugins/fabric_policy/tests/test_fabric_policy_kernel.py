"""The rules in a real kernel, inside a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["inside_nft.py", "inside_packets.py"])
def test_the_rules_in_the_kernel(name: str) -> None:
    missing = [program for program in ("ip", "nft", "unshare") if shutil.which(program) is None]
    assert not missing, f"not installed: {', '.join(missing)}"
    done = subprocess.run(
        [
            *("unshare", "-Urn", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            str(HERE / name),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=HERE.parent,
        env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
