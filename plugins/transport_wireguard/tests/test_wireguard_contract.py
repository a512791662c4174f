"""The plugin keeps the contract of a plugin, and its kernel backend that of an encrypting transport.

The device is one in memory, behind the same port as generic netlink; the real ones are in
`test_wireguard_userspace.py` and `test_wireguard_kernel.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from plugins.transport_wireguard.tests.wireguard_fakes import FakePort, make
from plugins.transport_wireguard.tests.wireguard_samples import samples, tunnel

from routerd.model.names import LinkName
from routerd.spi import Link, PluginContext, Provider, Transport
from routerd.testing.context import make_context
from routerd.testing.contracts import EncryptingTransportContract, Foreign, PluginContract, Samples
from routerd.testing.kernel import FakeKernel
from routerd_transport_wireguard import plugin
from routerd_transport_wireguard.config import WireGuardOptions


class TestPlugin(PluginContract):
    name: ClassVar[str] = "transport_wireguard"


class TestKernelWireGuard(EncryptingTransportContract):
    @pytest.fixture
    def kernel(self) -> FakeKernel:
        return FakeKernel()

    @pytest.fixture
    def context(self, tmp_path: Path, kernel: FakeKernel) -> PluginContext:
        return make_context(tmp_path, kernel=kernel)

    @pytest.fixture
    def provider(self, kernel: FakeKernel) -> Provider[Transport]:
        described, port = plugin.routerd_transports()[0], FakePort(kernel)

        def create(context: PluginContext, options: object) -> Transport:
            described.make(context, options)  # refuses what it must
            assert isinstance(options, WireGuardOptions)
            return make(context, port, options)

        return attrs.evolve(described, create=create)

    @pytest.fixture
    def options(self) -> WireGuardOptions:
        return WireGuardOptions()

    @pytest.fixture
    def samples(self, tmp_path: Path, kernel: FakeKernel) -> Mapping[str, Samples[Any, Any]]:
        there = Link(name=LinkName("wg-0"), index=90, kind="wireguard", up=True, mtu=1420, alias="of others")

        async def place() -> None:
            kernel.place(there)

        async def read() -> object:
            return (await kernel.links()).get(there.name)

        value = tunnel(tmp_path, there.name, port=51830)
        return samples(tmp_path, Foreign(key=there.name, value=value, place=place, read=read))
