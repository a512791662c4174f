"""The contract of an encrypting transport on this kernel, for either backend. Not a test itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from plugins.transport_wireguard.tests.wireguard_samples import samples, tunnel
from plugins.transport_wireguard.tests.wireguard_world import SOCKETS, sh

from routerd.spi import PluginContext, Provider, Transport
from routerd.testing.contracts import EncryptingTransportContract, Foreign, Samples
from routerd.testing.live import live_context
from routerd_transport_wireguard import plugin
from routerd_transport_wireguard.config import WireGuardOptions


class RealContract(EncryptingTransportContract):
    backend: ClassVar[WireGuardOptions]

    @pytest.fixture
    def provider(self) -> Provider[Transport]:
        return plugin.routerd_transports()[0]

    @pytest.fixture
    def options(self) -> WireGuardOptions:
        return self.backend

    @pytest.fixture
    def context(self, tmp_path: Path) -> Iterator[PluginContext]:
        yield live_context(tmp_path)
        sh("for link in wg-0 wg-a wg-b; do ip link del $link 2>/dev/null; done; true")
        # A program that lost its device is still ending; the next test begins without it.
        sh(f"while ls {SOCKETS}/*.sock >/dev/null 2>&1; do sleep 0.02; done")

    @pytest.fixture
    def samples(self, tmp_path: Path) -> Mapping[str, Samples[Any, Any]]:
        there = tunnel(tmp_path, "wg-0", port=51830)

        async def place() -> None:
            sh("ip link add wg-0 type bridge")

        async def read() -> object:
            return sh("ip -d link show wg-0")

        return samples(tmp_path, Foreign(key=there.link, value=there, place=place, read=read))
