"""What every test of clouds in a storm needs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory whose name leaves room for that of a socket in it."""
    with tempfile.TemporaryDirectory(prefix="storm-") as name:
        yield Path(name)
