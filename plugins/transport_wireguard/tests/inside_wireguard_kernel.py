"""WireGuard of this kernel, and against wireguard-go. Not collected: `test_wireguard_kernel.py` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import ClassVar

import pytest
from plugins.transport_wireguard.tests.wireguard_real_contract import RealContract
from plugins.transport_wireguard.tests.wireguard_samples import WG, of, peer, to, tunnel
from plugins.transport_wireguard.tests.wireguard_traffic import TrafficRules
from plugins.transport_wireguard.tests.wireguard_world import (
    KERNEL,
    USERSPACE,
    Host,
    by_hand,
    daemon,
    hosts,
    join,
    programs,
    sh,
    want,
)

from routerd.errors import NotOwnedError, TransientError
from routerd.model.tunnel import PeerKey, WireGuardPeer
from routerd.testing.context import make_context
from routerd.testing.live import real_kernel
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.device import PeerSetting
from routerd_transport_wireguard.genl import KernelPort
from routerd_transport_wireguard.transport import WireGuardTransport

Pair = tuple[Host, Host]


class TestKernelWireGuard(RealContract):
    backend: ClassVar[WireGuardOptions] = KERNEL


class TestKernelAndKernel(TrafficRules):
    backends: ClassVar[tuple[WireGuardOptions, WireGuardOptions]] = (KERNEL, KERNEL)
    names: ClassVar[tuple[str, str]] = ("kernel", "kernel")

    @pytest.fixture
    def pair(self, tmp_path: Path) -> Iterator[Pair]:
        with hosts(tmp_path) as (a, b):
            yield a, b


class TestKernelAndProgram(TestKernelAndKernel):
    backends: ClassVar[tuple[WireGuardOptions, WireGuardOptions]] = (KERNEL, USERSPACE)
    names: ClassVar[tuple[str, str]] = ("kernel", "wireguard-go")


del RealContract, TrafficRules


async def test_a_device_of_a_program_stays_when_the_kernel_can_make_one(tmp_path: Path) -> None:
    with hosts(tmp_path) as (a, b):
        await join(a, b, (USERSPACE, KERNEL))
        (pid,) = programs(a.link)
        async with daemon(a, WireGuardOptions()) as made:
            (state,) = await made.states()
            assert state.backend == "wireguard-go"
            await want(made, a.tunnel(mtu=1300), await made.peers.observe())  # type: ignore[arg-type]
            assert programs(a.link) == [pid]
            # A device that is made again is the kernel's.
            await made.tunnels.apply([to(a.link, None, a.tunnel())])
            await want(made, a.tunnel(), {})
            (state,) = await made.states()
            assert state.backend == "kernel"
        assert programs(a.link) == []


async def test_a_device_of_others_is_left_alone(tmp_path: Path) -> None:
    with hosts(tmp_path) as (a, b):
        by_hand(a, b, device=f"ip link add {a.link} type wireguard")
        before = a.sh(f"wg showconf {a.link}; ip -o addr show {a.link}")
        async with daemon(a, KERNEL) as made:
            assert await made.tunnels.observe() == {}
            for change in (to(a.link, a.tunnel()), to(a.link, None, a.tunnel())):
                assert isinstance((await made.tunnels.apply([change]))[a.link], NotOwnedError)
        assert a.sh(f"wg showconf {a.link}; ip -o addr show {a.link}") == before


async def test_a_device_in_many_messages_is_read_whole(tmp_path: Path) -> None:
    made = WireGuardTransport(make_context(tmp_path, kernel=real_kernel()), KERNEL)
    try:
        await made.tunnels.apply([to(WG, tunnel(tmp_path))])
        wanted: dict[PeerKey, WireGuardPeer] = {
            of(0): peer(*(str(IPv4Network((0x0A100000 + n, 32))) for n in range(1500))),
            **{of(n): peer(str(IPv4Network((0x0A400000 + n, 32)))) for n in range(1, 300)},
        }
        assert await made.peers.apply([to(key, value) for key, value in wanted.items()]) == {}
        assert await made.peers.observe() == wanted
        assert sh(f"wg show {WG} peers | wc -l").strip() == "300"
    finally:
        sh(f"ip link del {WG}")


async def test_errors_of_the_kernel_name_action_and_device() -> None:
    port = KernelPort()
    assert await port.read(WG) is None
    with pytest.raises(TransientError, match=r"wireguard wg-a: no such device \(ENODEV\)"):
        await port.configure(WG, private_key=None, listen_port=1)
    with pytest.raises(TransientError, match=r"wireguard wg-a: no such device"):
        await port.set_peer(WG, PeerSetting(public_key=of(1).public_key))
