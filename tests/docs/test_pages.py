"""The commands of each page, executed in its order on hosts of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.blocks import ROOT, blocks, pages

EXECUTED = [page for page in pages() if any(block.executed for block in blocks(page))]

pytestmark = [pytest.mark.netns, pytest.mark.timeout(3600)]


def test_the_pages_that_tell_how_to_build_a_fabric_are_among_them() -> None:
    assert {page.name for page in EXECUTED} >= {"host.md", "enrollment.md"}


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path) -> None:
    inside = [sys.executable, "-m", "tests.docs.hosts", str(page)]
    done = subprocess.run(
        ["unshare", "-Urnmpf", "--mount-proc", "--kill-child", *inside],
        capture_output=True,
        text=True,
        timeout=3590,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]
