"""Fixtures that pytest finds once routerd is installed (entry point `pytest11`).

pytest loads this module into every run of the environment, so it imports the kit only inside its
fixtures.
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
    """Register the markers of the rules in the contract suites."""
    config.addinivalue_line("markers", "needs(rule): the rule holds only for tables whose family says so")
    config.addinivalue_line("markers", "proves(group): `routerd plugins check` counts the rule in this group")


@pytest.fixture
def fake_clock() -> FakeClock:
    """Return a clock that only the test moves."""
    from routerd.testing.clock import FakeClock  # noqa: PLC0415 - see the module's docstring

    return FakeClock()


@pytest.fixture
def fake_kernel() -> FakeKernel:
    """Return a kernel in memory with `lo` as its only link."""
    from routerd.testing.kernel import FakeKernel  # noqa: PLC0415 - see the module's docstring

    return FakeKernel()


@pytest.fixture
def plugin_context(tmp_path: Path, fake_clock: FakeClock, fake_kernel: FakeKernel) -> PluginContext:
    """Return a context for one provider, with the clock and the kernel of the same test."""
    from routerd.testing.context import make_context  # noqa: PLC0415 - see the module's docstring

    return make_context(tmp_path, clock=fake_clock, kernel=fake_kernel)
