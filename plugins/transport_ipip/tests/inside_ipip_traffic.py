"""Packets through userspace tunnels. Not collected: `test_ipip_userspace.py` runs it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
from plugins.transport_ipip.tests.ipip_traffic import (
    TOS,
    check_the_wire,
    inner_packet,
    retransmitted,
    transfer,
)
from plugins.transport_ipip.tests.ipip_world import (
    VARIANTS,
    Host,
    capture,
    daemon,
    dropped,
    join,
    merge_received_segments,
    ping,
    sh,
    tunnel,
    two_hosts,
    want,
)
from tests.support.waiting import until

WRAPPER = {"gre": bytes.fromhex("0000 0800"), "gre+key": bytes.fromhex("2000 0800 00c0 ffee")}
"""The bytes before the inner packet in the payload of a raw socket."""


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as made:
        yield made


def raw_socket(mode: str) -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, 4 if mode == "ipip" else 47)


def send(mode: str, source: Host, target: Host, payload: bytes, *, tos: int = 0, port: int = 5555) -> None:
    """Send a forged packet of a tunnel from a socket outside the relay."""
    with source.here():
        if mode == "fou":
            sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sending.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sending.bind((source.address, port))
        else:
            sending = raw_socket(mode)
    with sending:
        sending.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        sending.sendto(WRAPPER.get(mode, b"") + payload, (target.address, 5555 if mode == "fou" else 0))


@contextlib.contextmanager
def hearing(host: Host) -> Iterator[socket.socket]:
    """A UDP socket on the inner address, port 2000, that also tells the TOS."""
    with host.here():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with made:
        made.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        made.bind((host.inner, 2000))
        made.settimeout(5)
        yield made


@pytest.mark.parametrize("mode", VARIANTS)
async def test_ping_and_tcp_in_both_directions(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    assert " 0% packet loss" in ping(a, b)
    assert " 0% packet loss" in ping(b, a, "-M do -s 1444")
    transfer(a, b)
    transfer(b, a)


@pytest.mark.parametrize("mode", VARIANTS)
async def test_merged_segments_of_the_receiving_device_get_through(
    mode: str, hosts: tuple[Host, Host]
) -> None:
    """GRO merges inner TCP too, and leaves an unfinished checksum."""
    a, b = hosts
    await join(mode, a, b)
    for host in hosts:
        merge_received_segments(host)
    with capture(b, seconds=0.5) as first:

        def merges() -> bool:
            # How many segments come close enough to be merged is up to the scheduler.
            transfer(a, b)
            try:
                return len(first(lambda packet: len(packet) > 1500)) > 1500
            except TimeoutError:
                return False

        if mode == "fou":
            transfer(a, b)
        else:
            until(merges, "this kernel merges segments")
    assert retransmitted(a) < 0.3


@pytest.mark.parametrize("mode", VARIANTS)
async def test_a_merged_segment_is_cut_before_it_is_forwarded(mode: str, hosts: tuple[Host, Host]) -> None:
    """Behind b is a host c with a link of 1280 bytes; the merged segments of b must fit there."""
    a, b = hosts
    await join(mode, a, b)
    for host in hosts:
        merge_received_segments(host)
    sh("ip netns add c && ip -n b link add bc type veth peer name cb netns c")
    try:
        b.sh(
            "ip link set bc up mtu 1280 && ip addr add 10.9.0.1/24 dev bc && sysctl -qw net.ipv4.ip_forward=1"
        )
        c = Host(name="c", address="10.9.0.2", inner="10.9.0.2", directory=b.directory)
        c.sh(
            "ip link set cb up mtu 1280 && ip addr add 10.9.0.2/24 dev cb"
            " && ip route add default via 10.9.0.1"
        )
        a.sh("ip route add 10.9.0.0/24 dev t-" + mode)
        transfer(a, c)
        assert retransmitted(a) < 0.3
    finally:
        sh("ip netns del c")


@pytest.mark.parametrize(("inner_tos", "outer_tos"), TOS)
@pytest.mark.parametrize("mode", VARIANTS)
async def test_the_wire_has_the_bytes_of_the_kernels_own_tunnel(
    mode: str, inner_tos: int, outer_tos: str, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    await join(mode, a, b)
    check_the_wire(mode, a, b, inner_tos, outer_tos)


@pytest.mark.parametrize("mode", VARIANTS)
async def test_malformed_and_foreign_packets_are_ignored(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    b.sh(f"ip addr add 192.0.2.3/24 dev {b.wire}")
    good = inner_packet(b, a, b"good")
    stranger = Host(name="b", address="192.0.2.3", inner=b.inner, directory=b.directory)
    junk = [
        b"",
        b"\x45",
        bytes(20),
        b"\x65" + good[1:],  # version 6
        b"\x44" + good[1:],  # a header of 16 bytes
        b"\x4f" + good[1:],  # a header longer than the packet
        good[:-1],  # shorter than it says
        good[:2] + b"\x00\x13" + good[4:],  # total below the header
        os.urandom(100),
    ]
    # A socket of ours on the remote's own port would take its packets; so the relay there goes first.
    async with daemon(b, mode) as made:
        await want(b, made)
    before = dropped(a, f"t-{mode}")
    with hearing(a) as heard:
        for each in junk:
            send(mode, b, a, each)
        with stranger.here():
            sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if mode == "fou" else raw_socket(mode)
        with sending:
            sending.bind(("192.0.2.3", 5555 if mode == "fou" else 0))
            strange = WRAPPER.get(mode, b"") + inner_packet(b, a, b"from a stranger")
            sending.sendto(strange, (a.address, 5555 if mode == "fou" else 0))
        send(mode, b, a, good)
        assert heard.recv(100) == b"good"
        heard.setblocking(False)
        with pytest.raises(BlockingIOError):
            heard.recv(100)
    # A stranger's packet is dropped by the kernel before it is anybody's.
    assert dropped(a, f"t-{mode}") - before == len(junk)


@pytest.mark.parametrize("mode", VARIANTS)
async def test_a_congestion_mark_of_the_way_is_copied_inside(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    async with daemon(b, mode) as made:
        await want(b, made)
    with hearing(a) as heard:
        send(mode, b, a, inner_packet(b, a, b"dropped", tos=0), tos=3)
        send(mode, b, a, inner_packet(b, a, b"marked", tos=0x02), tos=3)
        data, extra, _, _ = heard.recvmsg(100, 64)
        assert (data, extra[0][2][0]) == (b"marked", 0x03)


@pytest.mark.parametrize("mode", VARIANTS)
async def test_a_checksum_left_to_hardware_is_finished(mode: str, hosts: tuple[Host, Host]) -> None:
    """A kernel tunnel on the same machine (or behind virtio) sends such packets."""
    a, b = hosts
    await join(mode, a, b)
    async with daemon(b, mode) as made:
        await want(b, made)
    payload = b"left to hardware"
    ends = int.from_bytes(socket.inet_aton(b.inner) + socket.inet_aton(a.inner), "big")
    pseudo = (ends + 17 + 8 + len(payload)) % 65535
    with hearing(a) as heard:
        send(mode, b, a, inner_packet(b, a, b"wrong checksum", checksum=pseudo ^ 1))
        send(mode, b, a, inner_packet(b, a, payload, checksum=pseudo))
        assert heard.recv(100) == payload


@pytest.mark.parametrize("mode", VARIANTS)
async def test_the_sender_learns_of_a_narrower_path(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    a.sh(f"ip link set {a.wire} mtu 1400")
    with a.here(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        sending.connect((b.inner, 2000))
        sending.send(bytes(1400))
        until(lambda: sending.getsockopt(socket.IPPROTO_IP, 14) < 1400, "the sender knows the path's MTU")
        assert sending.getsockopt(socket.IPPROTO_IP, 14) == 1400 - 1500 + tunnel(mode, a, b).mtu
    transfer(a, b)
