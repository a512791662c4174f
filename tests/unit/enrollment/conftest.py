"""A clock, a route reflector and a leaf, of which each test has its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.enrollment.enrollment_world import Leaf, QuickClock, Reflector

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
