"""Fixtures that pytest finds once routerd is installed (entry point `pytest11`).

It is loaded into every pytest run of the environment, so it imports nothing but pytest until one
of its fixtures is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from routerd.spi import PluginContext
    from routerd.testing.clock import FakeClock
    from routerd.testing.kernel import FakeKernel

pytest.register_assert_rewrite("routerd.testing.contracts")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker by which a contract suite says which tables a rule holds for."""
    config.addinivalue_line("markers", "needs(rule): the rule holds only for tables whose family says so")


@pytest.fixture
def fake_clock() -> FakeClock:
    """Return a clock that stands still until the test moves it."""
    from routerd.testing.clock import FakeClock  # noqa: PLC0415 - see the module's docstring

    return FakeClock()


@pytest.fixture
def fake_kernel() -> FakeKernel:
    """Return a kernel in memory that has only `lo`."""
    from routerd.testing.kernel import FakeKernel  # noqa: PLC0415 - see the module's docstring

    return FakeKernel()


@pytest.fixture
def plugin_context(tmp_path: Path, fake_clock: FakeClock, fake_kernel: FakeKernel) -> PluginContext:
    """Return a context for one provider, with the clock and the kernel of the same test."""
    from routerd.testing.context import make_context  # noqa: PLC0415 - see the module's docstring

    return make_context(tmp_path, clock=fake_clock, kernel=fake_kernel)
