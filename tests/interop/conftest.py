"""Fixtures of the interoperability tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.interop.bird import Bird
from tests.interop.engine import Engine
from tests.interop.frr import Frr
from tests.interop.gobgp import GoBgp
from tests.interop.sandbox import DEADLINE, INSIDE, Runs, enter

from routerd_bgp_ryu.testing.nodes import nodes, short_path

__all__ = ["nodes", "short_path"]

KINDS: tuple[type[Engine], ...] = (Bird, Frr, GoBgp)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let whoever waits for a run inside wait for its end."""
    for item in items:
        if INSIDE not in os.environ and isinstance(item, pytest.Function) and "inside" in item.fixturenames:
            item.add_marker(pytest.mark.timeout(DEADLINE + 40))


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Run the tests inside namespaces; each test then takes its own outcome."""
    started = Runs(request.session)
    yield started
    started.close()


@pytest.fixture
def inside(request: pytest.FixtureRequest, runs: Runs, short_path: Path) -> bool:
    """Say whether this is the run inside the namespaces; a test does nothing in the other."""
    return enter(request, runs, short_path)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__.lower())
def kind(request: pytest.FixtureRequest) -> type[Engine]:
    """Return each engine in turn."""
    chosen: type[Engine] = request.param
    if chosen.missing():
        pytest.skip(f"{chosen.__name__} is not installed (package {chosen.package})")
    return chosen


@pytest.fixture
def kinds() -> tuple[type[Engine], ...]:
    """Return all engines, for a test of them together."""
    for each in KINDS:
        if each.missing():
            pytest.skip(f"{each.__name__} is not installed (package {each.package})")
    return KINDS


@pytest.fixture
def engines(short_path: Path) -> Iterator[Callable[[type[Engine], str], Engine]]:
    """Make engines, each in a namespace of a given name; they end with the test."""
    with ExitStack() as stack:

        def make(kind: type[Engine], name: str) -> Engine:
            engine = kind(name, short_path)
            stack.callback(engine.stop)
            return engine

        yield make
