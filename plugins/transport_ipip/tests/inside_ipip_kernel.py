"""Tunnels of this kernel, and against those of the relay. Not collected: `test_ipip_kernel.py` runs it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import ClassVar

import attrs
import pytest
from ipip_real_contract import RealContract
from ipip_traffic import TOS, check_the_wire, retransmitted, transfer
from ipip_world import (
    KERNEL,
    USERSPACE,
    Host,
    daemon,
    join,
    merge_received_segments,
    ping,
    tunnel,
    two_hosts,
    want,
)

from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import UdpEncapsulation
from routerd_transport_ipip.config import IpipOptions

MODES = ("ipip", "fou")
PAIRS = {
    "kernel-relay": (KERNEL, USERSPACE),
    "relay-kernel": (USERSPACE, KERNEL),
    "kernel-kernel": (KERNEL, KERNEL),
}


class TestKernelIpip(RealContract):
    mode: ClassVar[str] = "ipip"
    backend: ClassVar[IpipOptions] = KERNEL


class TestKernelFou(RealContract):
    mode: ClassVar[str] = "fou"
    backend: ClassVar[IpipOptions] = KERNEL


del RealContract


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as made:
        for host in made:
            # Beside a relay the loaded module answers each packet with an ICMP error of its own.
            host.sh("sysctl -qw net.ipv4.icmp_ratelimit=100000000")
        yield made


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("mode", MODES)
async def test_the_backends_understand_each_other(
    mode: str, pair: str, merged: bool, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    await join(mode, a, b, PAIRS[pair])
    if merged:
        for host in hosts:
            merge_received_segments(host)
    assert " 0% packet loss" in ping(a, b)
    assert " 0% packet loss" in ping(b, a, "-c 3 -i 0.01 -W 2 -M do -s 1444")
    transfer(a, b)
    transfer(b, a)
    assert retransmitted(a) < 0.3
    assert retransmitted(b) < 0.3


@pytest.mark.parametrize(("inner_tos", "outer_tos"), TOS)
@pytest.mark.parametrize("mode", MODES)
async def test_the_golden_bytes_are_the_kernels(
    mode: str, inner_tos: int, outer_tos: str, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    # Without a far end: the kernel's fou edits the outer header of what it receives in place.
    async with daemon(a, mode, KERNEL) as made:
        await want(a, made, tunnel(mode, a, b))
    check_the_wire(mode, a, b, inner_tos, outer_tos)


async def test_listeners_come_and_go_with_their_tunnels(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    a.sh("ip fou add port 7000 ipproto 4")
    one = tunnel("fou", a, b)
    two = attrs.evolve(
        one,
        link=LinkName("t-two"),
        addresses=(),
        remote=IPv4Address("192.0.2.3"),
        encapsulation=UdpEncapsulation(sport=7000, dport=7000),
    )
    async with daemon(a, "fou", KERNEL) as made:
        await want(a, made, one, two)
        assert "port 5555 ipproto 4" in a.sh("ip fou show")
        a.sh("ip fou del port 5555")
        await want(a, made, one, two)
        assert "port 5555 ipproto 4" in a.sh("ip fou show")
    async with daemon(a, "fou", KERNEL) as made:
        await want(a, made)
    assert a.sh("ip fou show").split() == ["port", "7000", "ipproto", "4"]


async def test_a_busy_port_is_named(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    wanted = tunnel("fou", a, b)
    async with daemon(a, "fou", KERNEL) as made:
        with a.here(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as busy:
            busy.bind(("0.0.0.0", 5555))
            failures = await made.tunnels.apply([Change(key=wanted.link, before=None, after=wanted)])
    assert "fou listener on UDP port 5555" in str(failures[wanted.link])
    assert "another program has the UDP port" in str(failures[wanted.link])


@pytest.mark.parametrize("mode", MODES)
async def test_another_backend_takes_over_when_the_tunnel_is_made_anew(
    mode: str, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    await join(mode, a, b)
    async with daemon(a, mode, KERNEL) as made:
        await want(a, made, tunnel(mode, a, b))
        with a.here():
            (state,) = await made.states()
            assert state.backend == "userspace"
            assert ("the kernel's ipip module is loaded too" in state.note) == (mode == "ipip")
        await want(a, made)
        await want(a, made, tunnel(mode, a, b))
        with a.here():
            assert [state.backend for state in await made.states()] == ["kernel"]
    assert " 0% packet loss" in ping(a, b)
