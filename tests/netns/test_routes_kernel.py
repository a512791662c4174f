"""Many routes at once, and routes that packets need while they change, on this host's kernel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

INSIDE = Path(__file__).with_name("inside_kernel_routes.py")


def test_the_kernel_takes_and_shows_many_routes() -> None:
    assert shutil.which("ip") is not None, "not installed: iproute2"
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INSIDE)]
    done = subprocess.run(
        ["unshare", "-Urnm", *suite],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=INSIDE.parents[2],
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
