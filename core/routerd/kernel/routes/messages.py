"""RTM_NEWROUTE, RTM_DELROUTE and RTM_GETROUTE as bytes, for IPv4 (rtnetlink(7), linux/rtnetlink.h).

Pure. Packed by hand because a general netlink library builds about a hundredth as many messages
a second, and a router that restarts writes all its routes at once. Most of those routes differ only
in their destination, so `copies` makes many requests from one.
"""

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from socket import AF_INET
from sys import byteorder

from routerd.model.names import LinkName
from routerd.model.route import ROUTE_PROTOCOL, NextHop, Route, RouteKey

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
_NLM_F_ACK_TLVS = 0x200

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE = 1, 4, 5, 6, 7, 9, 15
RTN_UNICAST, RTN_BLACKHOLE = 1, 6
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
RTNH_F_ONLINK = 4
_RT_TABLE_COMPAT = 252
_NLMSGERR_ATTR_MSG = 1
_NLA_TYPE_MASK = 0x3FFF

HEADER = struct.Struct("=IHHII")
"""`struct nlmsghdr`: length, type, flags, sequence, port."""
RTMSG = struct.Struct("=8BI")
ATTR = struct.Struct("=HH")
_ATTR32 = struct.Struct("=HHI")
_ATTR4 = struct.Struct("=HH4s")
NEXTHOP = struct.Struct("=HBBi")
_FRONT = struct.Struct("=IHHII 8BI HHI HH4s HHI")
"""Header, `struct rtmsg`, and the attributes of every request: table, destination, priority."""
_SEQUENCE, DESTINATION = 8, 40
"""Bytes before the sequence number and the destination, in our requests and the kernel's answers."""
_ERROR = struct.Struct("=i")

IndexOf = Callable[[LinkName], int]


def new_route(key: RouteKey, route: Route, *, flags: int, index_of: IndexOf) -> bytes:
    """Return an RTM_NEWROUTE; `index_of` raises `OSError` for a link that does not exist."""
    hops = route.next_hops
    scope = _SCOPE_UNIVERSE
    route_flags = 0
    if route.kind == "blackhole":
        kind, tail = RTN_BLACKHOLE, b""
    else:
        kind = RTN_UNICAST
        if len(hops) == 1:
            hop = hops[0]
            tail = _hop_attributes(hop, index_of)
            route_flags = RTNH_F_ONLINK if hop.onlink else 0
            scope = _SCOPE_LINK if hop.gateway is None else _SCOPE_UNIVERSE
        else:
            tail = _multipath(hops, index_of)
    if route.source is not None:
        tail += _ATTR4.pack(8, RTA_PREFSRC, route.source.packed)
    return _request(RTM_NEWROUTE, flags, key, scope, kind, route_flags, tail)


def delete_route(key: RouteKey) -> bytes:
    """Return an RTM_DELROUTE that matches only a route of ours; the kernel compares the protocol."""
    return _request(RTM_DELROUTE, NLM_F_REQUEST, key, _SCOPE_NOWHERE, 0, 0, b"")


def copies(request: bytes, destinations: Sequence[int], *, first: int) -> bytearray:
    """Return `request` once for each destination, numbered from `first` upwards.

    Both differing words go to all copies at once, as columns of a table.
    """
    count = len(destinations)
    copied = bytearray(request * count)
    words = memoryview(copied).cast("I")
    columns = {_SEQUENCE: array("I", range(first, first + count)), DESTINATION: array("I", destinations)}
    if byteorder == "little":
        columns[DESTINATION].byteswap()
    for offset, column in columns.items():
        words[offset // 4 :: len(request) // 4] = memoryview(column)
    return copied


def ask_for_acknowledgement(batch: bytearray, offset: int) -> None:
    """Set NLM_F_ACK in the request that begins at `offset`."""
    length, kind, flags, sequence, port = HEADER.unpack_from(batch, offset)
    HEADER.pack_into(batch, offset, length, kind, flags | NLM_F_ACK, sequence, port)


def dump_routes(*, protocol: int, sequence: int) -> bytes:
    """Return a request for all routes; a kernel with strict checking returns those of `protocol` only."""
    body = RTMSG.pack(AF_INET, 0, 0, 0, 0, protocol, 0, 0, 0)
    flags = NLM_F_REQUEST | NLM_F_DUMP
    return HEADER.pack(HEADER.size + len(body), RTM_GETROUTE, flags, sequence, 0) + body


def messages(buffer: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
    """Yield type, flags, sequence and payload of each message in a datagram."""
    offset, end = 0, len(buffer)
    while offset + HEADER.size <= end:
        length, kind, flags, sequence, _ = HEADER.unpack_from(buffer, offset)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, buffer[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def read_error(payload: memoryview, flags: int, *, echoed: int = HEADER.size) -> tuple[int, str]:
    """Return the errno of an NLMSG_ERROR (0 for an acknowledgement) and the kernel's own words.

    `echoed` bytes of the request precede them: with NETLINK_CAP_ACK, its header.
    """
    (code,) = _ERROR.unpack_from(payload)
    text = ""
    if flags & _NLM_F_ACK_TLVS:
        for kind, value in attributes(payload, _ERROR.size + echoed):
            if kind == _NLMSGERR_ATTR_MSG:
                text = bytes(value).rstrip(b"\0").decode(errors="replace")
    return -code, text


def attributes(buffer: memoryview, offset: int) -> Iterator[tuple[int, memoryview]]:
    """Yield type and value of each attribute from `offset` on."""
    end = len(buffer)
    while offset + ATTR.size <= end:
        length, kind = ATTR.unpack_from(buffer, offset)
        if length < ATTR.size:
            return
        yield kind & _NLA_TYPE_MASK, buffer[offset + ATTR.size : offset + length]
        offset += (length + 3) & ~3


def _request(
    message: int,
    flags: int,
    key: RouteKey,
    scope: int,
    kind: int,
    route_flags: int,
    tail: bytes,
) -> bytes:
    prefix = key.prefix
    table = key.table if key.table < _RT_TABLE_COMPAT or key.table in {253, 254, 255} else _RT_TABLE_COMPAT
    return (
        _FRONT.pack(
            _FRONT.size + len(tail), message, flags, 0, 0,
            AF_INET, prefix.prefixlen, 0, 0, table, ROUTE_PROTOCOL, scope, kind, route_flags,
            8, RTA_TABLE, key.table,
            8, RTA_DST, prefix.network_address.packed,
            8, RTA_PRIORITY, key.metric,
        )
        + tail
    )  # fmt: skip


def _hop_attributes(hop: NextHop, index_of: IndexOf) -> bytes:
    tail = b"" if hop.gateway is None else _ATTR4.pack(8, RTA_GATEWAY, hop.gateway.packed)
    return tail if hop.link is None else tail + _ATTR32.pack(8, RTA_OIF, index_of(hop.link))


def _multipath(hops: tuple[NextHop, ...], index_of: IndexOf) -> bytes:
    parts = []
    for hop in hops:
        gateway = b"" if hop.gateway is None else _ATTR4.pack(8, RTA_GATEWAY, hop.gateway.packed)
        index = 0 if hop.link is None else index_of(hop.link)
        flags = RTNH_F_ONLINK if hop.onlink else 0
        parts.append(NEXTHOP.pack(NEXTHOP.size + len(gateway), flags, 0, index) + gateway)
    body = b"".join(parts)
    return ATTR.pack(ATTR.size + len(body), RTA_MULTIPATH) + body
