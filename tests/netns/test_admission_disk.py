"""Admission on a disk that is full or read-only: a real one, in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

INSIDE = Path(__file__).with_name("inside_admission_disk.py")


def test_nothing_is_lost_and_nothing_is_made_up() -> None:
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INSIDE)]
    done = subprocess.run(
        ["unshare", "-Urnm", *suite],
        capture_output=True, text=True, timeout=880, check=False, cwd=INSIDE.parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
