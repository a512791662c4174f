"""Tunnels of this kernel, and against those of the relay. Not collected: `test_ipip_kernel.py` runs it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from typing import ClassVar

import attrs
import pytest
from plugins.transport_ipip.tests.ipip_real_contract import RealContract
from plugins.transport_ipip.tests.ipip_traffic import TOS, check_the_wire, retransmitted, transfer
from plugins.transport_ipip.tests.ipip_world import (
    KERNEL,
    KEY,
    USERSPACE,
    VARIANTS,
    Host,
    capture,
    daemon,
    dropped,
    join,
    merge_received_segments,
    ping,
    tunnel,
    two_hosts,
    want,
)
from tests.support.waiting import until

from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel, UdpEncapsulation
from routerd_transport_ipip.config import IpipOptions

# Each pair speaks both ways. What receivers merge is only a relay's concern.
PAIRS = {
    "kernel-relay": (KERNEL, USERSPACE, False),
    "kernel-relay-merged": (KERNEL, USERSPACE, True),
    "kernel-kernel": (KERNEL, KERNEL, False),
}


# A tunnel of mode fou is an ipip device with more attributes, and a listener.
class TestKernelFou(RealContract):
    mode: ClassVar[str] = "fou"
    backend: ClassVar[IpipOptions] = KERNEL


class TestKernelGre(RealContract):
    mode: ClassVar[str] = "gre"
    backend: ClassVar[IpipOptions] = KERNEL


del RealContract


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as made:
        for host in made:
            # Beside a relay the loaded module answers each packet with an ICMP error of its own.
            host.sh("sysctl -qw net.ipv4.icmp_ratelimit=100000000")
        yield made


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("mode", VARIANTS)
async def test_the_backends_understand_each_other(mode: str, pair: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    one, other, merged = PAIRS[pair]
    await join(mode, a, b, (one, other))
    if merged:
        for host in hosts:
            merge_received_segments(host)
    assert " 0% packet loss" in ping(a, b)
    assert " 0% packet loss" in ping(b, a, "-M do -s 1444")
    transfer(a, b)
    transfer(b, a)
    assert retransmitted(a) < 0.3
    assert retransmitted(b) < 0.3


@pytest.mark.parametrize("mode", VARIANTS)
async def test_the_golden_bytes_are_the_kernels(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    # Without a far end: the kernel's fou edits the outer header of a received packet in place.
    async with daemon(a, mode, KERNEL) as made:
        await want(a, made, tunnel(mode, a, b))
    for inner_tos, outer_tos in TOS:
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


@pytest.mark.parametrize("mode", VARIANTS)
async def test_another_backend_takes_over_a_tunnel_that_is_made_again(
    mode: str, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    await join(mode, a, b)
    async with daemon(a, mode, KERNEL) as made:
        await want(a, made, tunnel(mode, a, b))
        with a.here():
            (state,) = await made.states()
            assert state.backend == "userspace"
            assert ("module is loaded too" in state.note) == (mode != "fou")
        await want(a, made)
        await want(a, made, tunnel(mode, a, b))
        with a.here():
            assert [state.backend for state in await made.states()] == ["kernel"]
    assert " 0% packet loss" in ping(a, b)


GRE = ("gre", "gre+key")


@contextlib.contextmanager
def by_hand(variant: str, here: Host, there: Host, more: str = "") -> Iterator[None]:
    """A device made by hand with ip(8)."""
    wanted = tunnel(variant, here, there)
    key = f"key {KEY}" if wanted.key is not None else ""
    here.sh(
        f"ip link add hand type gre local {here.address} remote {there.address} ttl 64 {key} {more}"
        f" && ip link set hand mtu {wanted.mtu} up && ip addr add {here.inner}/30 dev hand"
    )
    try:
        yield
    finally:
        here.sh("ip link del hand")


@pytest.mark.parametrize("backend", [KERNEL, USERSPACE], ids=["kernel", "relay"])
@pytest.mark.parametrize("variant", GRE)
async def test_a_device_made_by_hand_understands_us(
    variant: str, backend: IpipOptions, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    with by_hand(variant, b, a):
        async with daemon(a, variant, backend) as made:
            await want(a, made, tunnel(variant, a, b))
        assert " 0% packet loss" in ping(a, b)
        assert " 0% packet loss" in ping(b, a, "-M do -s 1444")


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("variant", GRE)
async def test_the_relay_takes_a_kernels_checksums(
    variant: str, merged: bool, hosts: tuple[Host, Host]
) -> None:
    """A checksum that is left to hardware, or that covers merged segments, is not verifiable here."""
    a, b = hosts
    with by_hand(variant, b, a, "ocsum"):
        async with daemon(a, variant) as made:
            await want(a, made, tunnel(variant, a, b, mtu=1400))
        b.sh("ip link set hand mtu 1400")
        if merged:
            for host in hosts:
                merge_received_segments(host)
        with capture(a) as first:
            assert " 0% packet loss" in ping(b, a)
            assert first(lambda packet: packet[9] == 47)[20] & 0x80, "it has a checksum"
        transfer(b, a)
        (seen,) = json.loads(a.sh(f"ip -s -j link show t-{variant}"))
        # On a busy machine the device's own queue may overflow, and that counts too.
        assert dropped(a, f"t-{variant}") * 100 < seen["stats64"]["rx"]["packets"]


@pytest.mark.parametrize("variant", GRE)
async def test_the_relay_drops_a_kernels_sequence_numbers(variant: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    with by_hand(variant, b, a, "oseq"):
        async with daemon(a, variant) as made:
            await want(a, made, tunnel(variant, a, b))
        with b.here(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            sending.sendto(b"numbered", (a.inner, 2000))
        until(lambda: dropped(a, f"t-{variant}") == 1, "the packet is counted")


@pytest.mark.parametrize(("ours", "theirs"), [("gre", "gre+key"), ("gre+key", "gre")])
async def test_the_relay_does_not_hear_a_kernel_with_another_key(
    ours: str, theirs: str, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    with by_hand(theirs, b, a):
        async with daemon(a, ours) as made:
            await want(a, made, tunnel(ours, a, b))
        with b.here(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            sending.sendto(b"to nobody", (a.inner, 2000))
        until(lambda: dropped(a, f"t-{ours}") == 1, "the packet is counted")


async def test_the_device_is_as_ip_would_have_made_it(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    for key in (None, 0, 7, 2**32 - 1):
        async with daemon(a, "gre", KERNEL) as made:
            await want(a, made, tunnel("gre", a, b, key=key))
        words = f"type gre local {a.address} remote {b.address} ttl 64" + (
            f" key {key}" if key is not None else ""
        )
        (found,) = json.loads(a.sh("ip -d -j link show t-gre"))
        a.sh(f"ip link del t-gre && ip link add t-gre {words}")
        (hand,) = json.loads(a.sh("ip -d -j link show t-gre"))
        assert found["linkinfo"] == hand["linkinfo"], key
        a.sh("ip link del t-gre")


async def test_keys_separate_kernel_tunnels_between_the_same_ends(
    hosts: tuple[Host, Host],
) -> None:
    """And each by a relay at the other end, or by the kernel."""
    a, b = hosts

    def wanted(here: Host, there: Host) -> list[Tunnel]:
        return [
            tunnel(
                "gre",
                here,
                there,
                link=LinkName(f"t{number}"),
                key=key,
                addresses=(IPv4Interface(f"10.{number}.0.{here.address[-1]}/30"),),
            )
            for number, key in enumerate((None, 0, 7), 11)
        ]

    for backend in (KERNEL, USERSPACE):
        async with daemon(a, "gre", KERNEL) as made:
            await want(a, made, *wanted(a, b))
        async with daemon(b, "gre", backend) as made:
            await want(b, made)
            await want(b, made, *wanted(b, a))
        for number in (11, 12, 13):
            assert " 0% packet loss" in ping(a, attrs.evolve(b, inner=f"10.{number}.0.2"))


async def test_a_changed_device_is_made_again(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    one = tunnel("gre", a, b, key=7)
    async with daemon(a, "gre", KERNEL) as made:
        await want(a, made, one)
        for change in ("key 8", "ikey 8", "okey 8", "nokey", "csum", "seq", "ttl 9", "remote 192.0.2.9"):
            a.sh(f"ip link set t-gre type gre local {a.address} remote {b.address} ttl 64 key 7 {change}")
            with a.here():
                assert (await made.tunnels.observe())[one.link] != one, change
            await want(a, made, one)


@pytest.mark.parametrize("mode", ["ipip", "gre"])
async def test_a_loaded_module_answers_what_a_relay_hears(mode: str, hosts: tuple[Host, Host]) -> None:
    """The note in the status warns of this."""
    a, b = hosts
    b.sh(f"ip link add x type {mode} local 192.0.2.77 remote 192.0.2.78 && ip link del x")
    b.sh("sysctl -qw net.ipv4.icmp_ratelimit=0")
    await join(mode, a, b)
    with capture(a) as first:
        assert " 0% packet loss" in ping(a, b)
        answer = first(lambda packet: packet[9] == 1)
    assert answer[20] == 3
