"""The contract of a transport on this kernel, for either backend. Not a test itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, ClassVar

import attrs
import pytest
from plugins.transport_ipip.tests.ipip_world import PROVIDERS, directory, sh

from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel, UdpEncapsulation
from routerd.spi import PluginContext, Provider, Transport
from routerd.testing.context import make_context
from routerd.testing.contracts import Foreign, Samples, TransportContract
from routerd.testing.live import real_kernel
from routerd_transport_ipip.config import IpipOptions


class RealContract(TransportContract):
    mode: ClassVar[str]
    backend: ClassVar[IpipOptions]

    @pytest.fixture
    def provider(self) -> Provider[Transport]:
        return PROVIDERS[self.mode]

    @pytest.fixture
    def options(self) -> IpipOptions:
        return self.backend

    @pytest.fixture
    def context(self) -> Iterator[PluginContext]:
        sh("ip link add u0 type veth peer name u1 && ip link set u0 up && ip addr add 192.0.2.1/24 dev u0")
        try:
            with directory() as path:
                yield make_context(path, kernel=real_kernel())
        finally:
            sh("for link in u0 t0 t1 t2 t3; do ip link del $link 2>/dev/null; done; true")
            sh("ip fou del port 5555 2>/dev/null; true")

    def value(self, number: int, **changes: object) -> Tunnel:
        made = Tunnel(
            link=LinkName(f"t{number}"),
            mode=self.mode,
            owner=f"TunnelInterface/t{number}",
            mtu=1400,
            addresses=(IPv4Interface(f"10.255.{number}.1/30"),),
            local=IPv4Address("192.0.2.1"),
            remote=IPv4Address(f"192.0.2.{10 + number}"),
            key=number if self.mode == "gre" and number > 1 else None,
            encapsulation=UdpEncapsulation(sport=5555, dport=6000) if self.mode == "fou" else None,
        )
        return attrs.evolve(made, **changes)

    @pytest.fixture
    def samples(self) -> Mapping[str, Samples[Any, Any]]:
        async def place() -> None:
            sh("ip link add t0 type bridge")

        async def read() -> object:
            return sh("ip -d link show t0")

        values = {each.link: each for each in (self.value(1), self.value(2), self.value(3))}
        return {
            "tunnels": Samples(
                values=values,
                replacement={
                    LinkName("t1"): self.value(1, mtu=1300, addresses=(IPv4Interface("10.255.9.1/30"),)),
                    LinkName("t2"): self.value(2, remote=IPv4Address("192.0.2.99"), ttl=5),
                }
                | ({LinkName("t3"): self.value(3, key=0)} if self.mode == "gre" else {}),
                refused={LinkName("t" * 16): self.value(9, link=LinkName("t" * 16))},
                foreign=Foreign(key=LinkName("t0"), value=self.value(0), place=place, read=read),
            )
        }
