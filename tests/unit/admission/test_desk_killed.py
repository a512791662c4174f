"""A reflector is killed at any step of a submission, renewal or revocation: nothing is lost or made up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.live
def test_whatever_was_answered_is_true_after_a_kill_at_any_step() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.admission.killed_desk"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30, "there were hardly any steps"
