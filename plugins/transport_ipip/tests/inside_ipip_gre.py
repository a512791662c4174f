"""Keys and other bits of the GRE header. Not collected: `test_ipip_userspace.py` runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface

import attrs
import pytest
from plugins.transport_ipip.tests.ipip_traffic import inner_packet, transfer
from plugins.transport_ipip.tests.ipip_world import (
    KEY,
    Host,
    daemon,
    dropped,
    has_ended,
    join,
    ping,
    tunnel,
    two_hosts,
    want,
)
from tests.support.waiting import until

from routerd.errors import PermanentError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel

VARIANTS = ("gre", "gre+key")


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as made:
        yield made


def header(variant: str, *, flags: int = 0, protocol: int = 0x0800, optional: bytes = b"") -> bytes:
    """A header with `optional` before the key."""
    key = struct.pack("!I", KEY) if variant == "gre+key" else b""
    return struct.pack("!HH", flags | (0x2000 if key else 0), protocol) + optional + key


def with_checksum(message: bytes, error: int = 0) -> bytes:
    """The message with the checksum in its place, which must be zero."""
    total = int.from_bytes(message + bytes(len(message) & 1), "big") % 65535
    return message[:4] + struct.pack("!H", (65535 - total + error) % 65535) + message[6:]


@pytest.mark.parametrize("variant", VARIANTS)
async def test_unknown_headers_are_dropped_and_counted(variant: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(variant, a, b)
    async with daemon(b, variant) as made:
        await want(b, made)
    good, bad = inner_packet(b, a, b"good"), inner_packet(b, a, b"bad")
    other = header("gre" if variant == "gre+key" else "gre+key")
    refused = [
        b"",
        header(variant)[:-1],
        other + bad,
        header(variant, flags=0x2000) + bytes(4 if variant == "gre" else 0) + bad[:-1],
        with_checksum(header(variant, flags=0x8000, optional=bytes(4)) + bad, error=1),
        header(variant, flags=0x1000) + bytes(4) + bad,  # a sequence number
        header(variant, flags=0x4000, optional=bytes(4)) + bytes(4) + bad,  # routing
        header(variant, flags=0x0800) + bad,
        header(variant, flags=0x0400) + bad,
        header(variant, flags=0x0001) + bad,  # PPTP's version
        header(variant, protocol=0x86DD) + bad,
        header(variant, protocol=0x6558) + bad,
    ]
    taken = [
        header(variant) + good,
        header(variant, flags=0x03F8) + good,
        with_checksum(header(variant, flags=0x8000, optional=bytes(4)) + good),
    ]
    if variant == "gre+key":
        refused += [struct.pack("!HHI", 0x2000, 0x0800, key) + bad for key in (0, KEY + 1, KEY ^ 1 << 31)]
    before = dropped(a, f"t-{variant}")
    with a.here():
        hearing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with b.here():
        sending = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
    with hearing, sending:
        hearing.settimeout(20)
        hearing.bind((a.inner, 2000))
        for each in (*refused, *taken):
            sending.sendto(each, (a.address, 0))
        assert [hearing.recv(100) for _ in taken] == [b"good"] * len(taken)
        hearing.setblocking(False)
        with pytest.raises(BlockingIOError):
            hearing.recv(100)
    assert dropped(a, f"t-{variant}") - before == len(refused)


SUBNETS: dict[int | None, int] = {None: 11, 0: 12, 7: 13, 2**32 - 1: 14}
"""The key of each tunnel between the same ends, and where its inner addresses are."""


def inside(host: Host, key: int | None) -> Host:
    return attrs.evolve(host, inner=f"10.{SUBNETS[key]}.0.{host.address[-1]}")


def keyed(here: Host, there: Host, key: int | None, **changes: object) -> Tunnel:
    inner = inside(here, key).inner
    values = {
        "link": LinkName(f"t{SUBNETS[key]}"),
        "key": key,
        "addresses": (IPv4Interface(f"{inner}/30"),),
        **changes,
    }
    return tunnel("gre", here, there, **values)


def received(host: Host, key: int | None) -> int:
    (seen,) = json.loads(host.sh(f"ip -s -j link show t{SUBNETS[key]}"))
    return int(seen["stats64"]["rx"]["packets"])


async def test_keys_separate_tunnels_between_the_same_ends(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    for here, there in ((a, b), (b, a)):
        async with daemon(here, "gre") as made:
            await want(here, made, *(keyed(here, there, key) for key in SUBNETS))
    for number, key in enumerate(SUBNETS, 3):
        before = {each: received(b, each) for each in SUBNETS}
        assert " 0% packet loss" in ping(a, inside(b, key), count=number)
        assert {each: received(b, each) - before[each] for each in SUBNETS} == {
            each: number if each == key else 0 for each in SUBNETS
        }
    transfer(inside(a, 7), inside(b, 7))
    # Nobody has read what was for another one.
    assert {dropped(b, f"t{subnet}") for subnet in SUBNETS.values()} == {0}


async def test_the_packets_of_a_removed_tunnel_are_dropped(hosts: tuple[Host, Host]) -> None:
    """Its key is a wrong one for every remaining tunnel between these ends."""
    a, b = hosts
    for here, there in ((a, b), (b, a)):
        async with daemon(here, "gre") as made:
            await want(here, made, *(keyed(here, there, key) for key in SUBNETS))
    left = [keyed(b, a, key) for key in (None, 7)]
    async with daemon(b, "gre") as made:
        await want(b, made, *left)
    with a.here(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.sendto(b"to nobody", (inside(b, 0).inner, 2000))
    assert " 0% packet loss" in ping(a, inside(b, 7))
    until(lambda: {dropped(b, each.link) for each in left} == {1}, "both have counted it")


async def test_a_tunnel_with_the_ends_and_the_key_of_another_is_refused(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    one = keyed(a, b, 7)
    two = attrs.evolve(one, link=LinkName("t-two"), addresses=())
    async with daemon(a, "gre") as made:
        await want(a, made, one)
        with a.here():
            failures = await made.tunnels.apply([Change(key=two.link, before=None, after=two)])
        await want(a, made, one, attrs.evolve(two, key=8))
    assert isinstance(failures[two.link], PermanentError)
    assert f"tunnel t-two: tunnel {one.link} has the same two ends" in str(failures[two.link])
    assert "or with gre its own key" in str(failures[two.link])


async def test_another_key_keeps_the_device(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join("gre", a, b)
    (before,) = json.loads(a.sh("ip -j link show t-gre"))
    for here, there in ((a, b), (b, a)):
        for key in (7, 8):
            async with daemon(here, "gre") as made:
                await want(here, made, tunnel("gre", here, there, key=key))
    (after,) = json.loads(a.sh("ip -j link show t-gre"))
    assert after["ifindex"] == before["ifindex"]
    assert " 0% packet loss" in ping(a, b)


async def test_ends_with_different_keys_do_not_hear_each_other_and_count_it(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    async with daemon(a, "gre") as made:
        await want(a, made, tunnel("gre", a, b, key=7))
    async with daemon(b, "gre") as made:
        await want(b, made, tunnel("gre", b, a, key=8))
    with a.here(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.sendto(b"to nobody", (b.inner, 2000))
    until(lambda: dropped(b, "t-gre") == 1, "the packet is counted")


async def test_keys_are_found_again_by_the_next_daemon(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    wanted = {each.link: each for each in (keyed(a, b, key) for key in SUBNETS)}
    async with daemon(a, "gre") as made:
        await want(a, made, *wanted.values())
    pid = a.pid("gre")
    async with daemon(a, "gre") as made:
        with a.here():
            assert await made.tunnels.observe() == wanted
        os.kill(pid, signal.SIGKILL)
        until(lambda: has_ended(pid), "the relay is dead")
        await want(a, made, *wanted.values())


async def test_a_relay_refuses_an_impossible_key_and_goes_on(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join("gre", a, b)
    ends = {"local": a.address, "remote": "192.0.2.3", "ttl": 64, "sport": 0, "dport": 0}
    for key in (-1, 1 << 32, "7"):
        with pytest.raises(KeyError):  # the answer has no result
            a.ask("gre", do="add", name="t-two", key=key, **ends)
    assert " 0% packet loss" in ping(a, b)
