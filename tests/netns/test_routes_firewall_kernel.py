"""Routes, packet filters and sysctls on this host's kernel, inside a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

INSIDE = Path(__file__).with_name("inside_kernel_tables.py")
PROGRAMS = ("ip", "nft", "iptables-nft", "iptables-legacy")


def test_the_kernels_tables_keep_their_contract() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    assert not missing, f"not installed: {', '.join(missing)}"
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INSIDE)]
    done = subprocess.run(
        # A tmpfs on /run, for the lock of iptables must be ours to take.
        ["unshare", "-Urnm", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh", *suite],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=INSIDE.parents[2],
        env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
