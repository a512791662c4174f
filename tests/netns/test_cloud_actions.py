"""Changes of a cloud, approved and undone by the commands that a person would type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

INSIDE = Path(__file__).with_name("inside_cloud_actions.py")


def test_a_person_approves_undoes_and_asks_the_doctor() -> None:
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
