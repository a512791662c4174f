"""Link requests as bytes, and the kernel's answers: a requested link reads back the same."""

from __future__ import annotations

import logging
import struct
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.iproute.linux import get_arguments_processor
from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.nlsocket import NetlinkRequest
from pyroute2.netlink.rtnl import RTM_NEWLINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from routerd.kernel import links
from routerd.model.names import LinkName
from routerd.spi import Link, LinkSpec

KEY, CHECKSUM, SEQUENCE = 0x2000, 0x8000, 0x1000
IFLAGS, OFLAGS, IKEY, OKEY = 2, 3, 4, 5
"""Attributes of linux/if_tunnel.h, and its flags in network byte order."""

SPEC = LinkSpec(
    name=LinkName("t1"),
    kind="gre",
    owner="TunnelInterface/t1",
    mtu=1472,
    local=IPv4Address("192.0.2.1"),
    remote=IPv4Address("192.0.2.2"),
)


def encoded(values: dict[str, Any]) -> bytes:
    """The request of pyroute2, without a socket."""
    nowhere = SimpleNamespace(addr_pool=None, status={}, epid=1, marshal=None)
    arguments = get_arguments_processor("link", "add", dict(values))
    request = NetlinkRequest(
        nowhere,
        ifinfmsg(),
        request_filter=arguments,
        msg_type=RTM_NEWLINK,
        msg_flags=NLM_F_REQUEST,
        msg_seq=1,
    )
    request.msg.encode()
    return bytes(request.msg.data)


def read(values: dict[str, Any]) -> Link:
    message = ifinfmsg(encoded(values))
    message.decode()
    return links._link(message, ())


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


@pytest.mark.parametrize("key", [0, 7, 2**32 - 1])
def test_a_gre_key_goes_out_in_both_directions_with_its_flag(
    key: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        message = encoded(links._attributes(attrs.evolve(SPEC, key=key)))
    for kind in (IFLAGS, OFLAGS):
        assert attribute(kind, b"\x20\x00") in message
    for kind in (IKEY, OKEY):
        assert attribute(kind, struct.pack("!I", key)) in message
    assert not caplog.records


def test_a_gre_device_without_a_key_has_no_flag() -> None:
    message = encoded(links._attributes(SPEC))
    assert attribute(IFLAGS, b"\x20\x00") not in message
    assert attribute(OFLAGS, b"\x20\x00") not in message


@given(st.none() | st.integers(0, 2**32 - 1), st.integers(1, 255))
def test_a_requested_link_reads_back_the_same(key: int | None, ttl: int) -> None:
    found = read(links._attributes(attrs.evolve(SPEC, key=key, ttl=ttl)))
    assert (found.kind, found.local, found.remote) == ("gre", SPEC.local, SPEC.remote)
    assert (found.key, found.ttl) == (key, ttl)


def gre(**values: int) -> Link:
    return read(links._attributes(SPEC) | {f"gre_{name}": value for name, value in values.items()})


def test_a_key_without_its_flag_does_not_count() -> None:
    """Without a key the kernel reports zeros."""
    assert gre(ikey=0, okey=0, iflags=0, oflags=0).key is None
    assert gre(ikey=0, okey=0, iflags=KEY, oflags=KEY).key == 0


@pytest.mark.parametrize(
    "values",
    [
        {"ikey": 7, "iflags": KEY},
        {"okey": 7, "oflags": KEY},
        {"ikey": 7, "iflags": KEY, "okey": 8, "oflags": KEY},
        {"ikey": 7, "iflags": KEY | SEQUENCE, "okey": 7, "oflags": KEY},
        {"iflags": CHECKSUM, "oflags": CHECKSUM},
    ],
)
def test_a_device_with_odd_keys_differs_from_every_tunnel_of_ours(values: dict[str, int]) -> None:
    """A tunnel of ours has one key, no checksums and no sequence numbers."""
    assert gre(**values).key == links.ODD_KEY


@pytest.mark.parametrize(("key", "ours"), [(None, True), (7, False)])
def test_a_bare_device_with_another_key_is_not_our_unfinished_work(key: int | None, ours: bool) -> None:
    found = attrs.evolve(gre(), up=False)
    assert links._is_unfinished(found, attrs.evolve(SPEC, key=key)) is ours
