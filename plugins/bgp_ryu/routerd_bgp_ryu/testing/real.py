"""Fixtures of the contract suites, for the real speaker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from routerd.spi import PluginContext, Provider, Routing
from routerd.testing.context import make_context
from routerd_bgp_ryu.config import BgpOptions
from routerd_bgp_ryu.plugin import routerd_routings
from routerd_bgp_ryu.testing.processes import end_speaker


class RealSpeaker:
    """The plugin's provider; its speaker ends with the test."""

    @pytest.fixture
    def provider(self) -> Provider[Routing]:
        """Return the one provider of the plugin."""
        return routerd_routings()[0]

    @pytest.fixture
    def options(self) -> BgpOptions:
        """Return the options as they are without a file."""
        return BgpOptions()

    @pytest.fixture
    def context(self, short_path: Path) -> Iterator[PluginContext]:
        """Return a context whose directories fit a socket."""
        made = make_context(short_path)
        yield made
        end_speaker(made.run_dir)
