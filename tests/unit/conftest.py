"""Fixtures that tests of several rooms share: a clock, a reflector and a leaf; a world of plugins."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.admission.enrollment_world import Leaf, QuickClock, Reflector
from tests.unit.plugins.plugin_world import World

from routerd.store import open_store


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def rr(tmp_path: Path, clock: QuickClock) -> Reflector:
    return Reflector(tmp_path / "rr.db", clock)


@pytest.fixture
def leaf(tmp_path: Path, clock: QuickClock) -> Leaf:
    return Leaf(open_store(tmp_path / "leaf.db", clock=clock), clock)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Install plugins; nothing else is installed."""
    return World(tmp_path, monkeypatch)
