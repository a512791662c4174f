"""RTM_NEWROUTE, RTM_DELROUTE and RTM_GETROUTE as bytes, for IPv4 (rtnetlink(7), linux/rtnetlink.h).

Pure. Packed by hand because a general netlink library builds about a hundredth as many messages
a second, and a router that restarts has all its routes to write at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from socket import AF_INET
from sys import byteorder
from typing import Literal

import attrs

from routerd.model.names import LinkName
from routerd.model.route import ROUTE_PROTOCOL, NextHop, Route, RouteKey

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
_NLM_F_ACK_TLVS = 0x200

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_TABLE = (
    1,
    4,
    5,
    6,
    7,
    9,
    15,
)
_RTN_UNICAST, _RTN_BLACKHOLE = 1, 6
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_RTM_F_CLONED = 0x200
_RTNH_F_ONLINK = 4
_RT_TABLE_COMPAT = 252
_NLMSGERR_ATTR_MSG = 1
_NLA_TYPE_MASK = 0x3FFF

HEADER = struct.Struct("=IHHII")
"""`struct nlmsghdr`: length, type, flags, sequence, port."""
_RTMSG = struct.Struct("=8BI")
_ATTR = struct.Struct("=HH")
_ATTR32 = struct.Struct("=HHI")
_ATTR4 = struct.Struct("=HH4s")
_NEXTHOP = struct.Struct("=HBBi")
_FRONT = struct.Struct("=IHHII 8BI HHI HH4s HHI")
"""Header, `struct rtmsg`, and the attributes that every request has: table, destination, priority."""
_ERROR = struct.Struct("=i")

IndexOf = Callable[[LinkName], int]
NameOf = Callable[[int], LinkName]


@attrs.frozen(kw_only=True)
class FoundRoute:
    """A route of a dump; `route` is none when it is of a shape that we never make."""

    key: RouteKey
    protocol: int
    route: Route | None


def new_route(key: RouteKey, route: Route, *, flags: int, sequence: int, index_of: IndexOf) -> bytes:
    """Return an RTM_NEWROUTE; `index_of` raises `OSError` for a link that does not exist."""
    hops = route.next_hops
    scope = _SCOPE_UNIVERSE
    route_flags = 0
    if route.kind == "blackhole":
        kind, tail = _RTN_BLACKHOLE, b""
    else:
        kind = _RTN_UNICAST
        if len(hops) == 1:
            hop = hops[0]
            tail = _hop_attributes(hop, index_of)
            route_flags = _RTNH_F_ONLINK if hop.onlink else 0
            scope = _SCOPE_LINK if hop.gateway is None else _SCOPE_UNIVERSE
        else:
            tail = _multipath(hops, index_of)
    if route.source is not None:
        tail += _ATTR4.pack(8, _RTA_PREFSRC, route.source.packed)
    return _request(RTM_NEWROUTE, flags, sequence, key, scope, kind, route_flags, tail)


def delete_route(key: RouteKey, *, sequence: int) -> bytes:
    """Return an RTM_DELROUTE that matches only a route of ours: the kernel compares the protocol."""
    return _request(RTM_DELROUTE, NLM_F_REQUEST, sequence, key, _SCOPE_NOWHERE, 0, 0, b"")


def dump_routes(*, protocol: int, sequence: int) -> bytes:
    """Return a request for all routes; a kernel with strict checking returns those of `protocol` only."""
    body = _RTMSG.pack(AF_INET, 0, 0, 0, 0, protocol, 0, 0, 0)
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


def read_error(payload: memoryview, flags: int) -> tuple[int, str]:
    """Return the errno of an NLMSG_ERROR (0 for an acknowledgement) and the kernel's own words."""
    (code,) = _ERROR.unpack_from(payload)
    text = ""
    if flags & _NLM_F_ACK_TLVS:
        # With NETLINK_CAP_ACK only the header of the request is echoed before the attributes.
        for kind, value in _attributes(payload, _ERROR.size + HEADER.size):
            if kind == _NLMSGERR_ATTR_MSG:
                text = bytes(value).rstrip(b"\0").decode(errors="replace")
    return -code, text


def read_route(payload: memoryview, name_of: NameOf) -> FoundRoute | None:
    """Return the route of an RTM_NEWROUTE, or none for a cached route or one with a TOS."""
    _, length, _, tos, table, protocol, _, kind, flags = _RTMSG.unpack_from(payload)
    if flags & _RTM_F_CLONED or tos:
        return None
    destination, metric = 0, 0
    gateway = source = link = None
    hops: tuple[NextHop, ...] = ()
    for attribute, value in _attributes(payload, _RTMSG.size):
        if attribute == _RTA_DST:
            destination = int.from_bytes(value, "big")
        elif attribute == _RTA_OIF:
            link = name_of(int.from_bytes(value, byteorder))
        elif attribute == _RTA_GATEWAY:
            gateway = IPv4Address(int.from_bytes(value, "big"))
        elif attribute == _RTA_PRIORITY:
            metric = int.from_bytes(value, byteorder)
        elif attribute == _RTA_PREFSRC:
            source = IPv4Address(int.from_bytes(value, "big"))
        elif attribute == _RTA_TABLE:
            table = int.from_bytes(value, byteorder)
        elif attribute == _RTA_MULTIPATH:
            hops = tuple(_read_multipath(value, name_of))
    key = RouteKey(prefix=IPv4Network((destination, length)), metric=metric, table=table)
    kinds: dict[int, Literal["unicast", "blackhole"]] = {_RTN_UNICAST: "unicast", _RTN_BLACKHOLE: "blackhole"}
    if kind not in kinds:
        return FoundRoute(key=key, protocol=protocol, route=None)
    if kind == _RTN_UNICAST and not hops:
        hops = (NextHop(gateway=gateway, link=link, onlink=bool(flags & _RTNH_F_ONLINK)),)
    return FoundRoute(
        key=key, protocol=protocol, route=Route(next_hops=hops, kind=kinds[kind], source=source)
    )


def _request(
    message: int,
    flags: int,
    sequence: int,
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
            _FRONT.size + len(tail), message, flags, sequence, 0,
            AF_INET, prefix.prefixlen, 0, 0, table, ROUTE_PROTOCOL, scope, kind, route_flags,
            8, _RTA_TABLE, key.table,
            8, _RTA_DST, prefix.network_address.packed,
            8, _RTA_PRIORITY, key.metric,
        )
        + tail
    )  # fmt: skip


def _hop_attributes(hop: NextHop, index_of: IndexOf) -> bytes:
    tail = b"" if hop.gateway is None else _ATTR4.pack(8, _RTA_GATEWAY, hop.gateway.packed)
    return tail if hop.link is None else tail + _ATTR32.pack(8, _RTA_OIF, index_of(hop.link))


def _multipath(hops: tuple[NextHop, ...], index_of: IndexOf) -> bytes:
    parts = []
    for hop in hops:
        gateway = b"" if hop.gateway is None else _ATTR4.pack(8, _RTA_GATEWAY, hop.gateway.packed)
        index = 0 if hop.link is None else index_of(hop.link)
        flags = _RTNH_F_ONLINK if hop.onlink else 0
        parts.append(_NEXTHOP.pack(_NEXTHOP.size + len(gateway), flags, 0, index) + gateway)
    body = b"".join(parts)
    return _ATTR.pack(_ATTR.size + len(body), _RTA_MULTIPATH) + body


def _read_multipath(value: memoryview, name_of: NameOf) -> Iterator[NextHop]:
    offset = 0
    while offset + _NEXTHOP.size <= len(value):
        length, flags, _, index = _NEXTHOP.unpack_from(value, offset)
        if length < _NEXTHOP.size:
            return
        gateway = None
        for attribute, inner in _attributes(value[offset : offset + length], _NEXTHOP.size):
            if attribute == _RTA_GATEWAY:
                gateway = IPv4Address(int.from_bytes(inner, "big"))
        yield NextHop(gateway=gateway, link=name_of(index), onlink=bool(flags & _RTNH_F_ONLINK))
        offset += (length + 3) & ~3


def _attributes(buffer: memoryview, offset: int) -> Iterator[tuple[int, memoryview]]:
    end = len(buffer)
    while offset + _ATTR.size <= end:
        length, kind = _ATTR.unpack_from(buffer, offset)
        if length < _ATTR.size:
            return
        yield kind & _NLA_TYPE_MASK, buffer[offset + _ATTR.size : offset + length]
        offset += (length + 3) & ~3
