"""What the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.runtime.plugin_world import World


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Install plugins; nothing else is installed."""
    return World(tmp_path, monkeypatch)
