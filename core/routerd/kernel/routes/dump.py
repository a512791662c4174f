"""The kernel's answers to RTM_GETROUTE as values. Pure.

Most routes of a dump differ only in their destination. So the reader parses each form of answer once,
and makes a key only for a route of ours.
"""

import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from sys import byteorder
from typing import Literal

import attrs

from routerd.kernel.routes import messages as wire
from routerd.model.names import LinkName
from routerd.model.route import NextHop, Route, RouteKey

NameOf = Callable[[int], LinkName]

_RTM_F_CLONED = 0x200
_DESTINATION_HEADER = wire.ATTR.pack(8, wire.RTA_DST)
_PLACE = struct.Struct("=BII")


@attrs.frozen(kw_only=True)
class Form:
    """A route of a dump without its destination; `route` is none for a kind that routerd never makes."""

    length: int
    metric: int
    table: int
    protocol: int
    route: Route | None
    place: bytes = attrs.field(init=False, eq=False)

    @place.default
    def _place(self) -> bytes:
        return _PLACE.pack(self.length, self.metric, self.table)

    def key(self, destination: bytes) -> RouteKey:
        """Return the key of the route of this form to `destination`."""
        prefix = IPv4Network((int.from_bytes(destination, "big"), self.length))
        return RouteKey(prefix=prefix, metric=self.metric, table=self.table)


def identity(key: RouteKey) -> bytes:
    """Return the bytes that equal `destination + form.place` of the route with that key.

    A key takes ten times as long as bytes to make, to hash and to compare.
    """
    prefix = key.prefix
    return prefix.network_address.packed + _PLACE.pack(prefix.prefixlen, key.metric, key.table)


class DumpReader:
    """Reads the datagrams of one dump.

    `destinations` and `forms` are parallel, in the kernel's order, without cached routes and those
    with a TOS: two lists, because many pairs keep the garbage collector busy. `interrupted` says that
    the table changed during the dump (NLM_F_DUMP_INTR), `error` is the errno with which the kernel
    gave up.
    """

    def __init__(self, name_of: NameOf) -> None:
        self.destinations: list[bytes] = []
        self.forms: list[Form] = []
        self.interrupted = False
        self.error: tuple[int, str] | None = None
        self._name_of = name_of
        self._known: dict[bytes, Form | None] = {}

    def read(self, datagram: bytes) -> bool:
        """Read one datagram; return whether it was the last."""
        offset, end = 0, len(datagram)
        while offset + wire.HEADER.size <= end:
            length, kind, flags, _, _ = wire.HEADER.unpack_from(datagram, offset)
            if length < wire.HEADER.size:
                break
            if flags & wire.NLM_F_DUMP_INTR:
                self.interrupted = True
            if kind == wire.RTM_NEWROUTE:
                offset = self._routes(datagram, offset, length)
                continue
            if kind in {wire.NLMSG_ERROR, wire.NLMSG_DONE}:
                # A dump that the kernel gives up half way ends with NLMSG_DONE and an errno in it.
                echoed = wire.HEADER.size if kind == wire.NLMSG_ERROR else 0
                payload = memoryview(datagram)[offset + wire.HEADER.size : offset + length]
                code, text = wire.read_error(payload, flags, echoed=echoed)
                self.error = (code, text) if code else None
                return True
            offset += (length + 3) & ~3
        return False

    def _routes(self, datagram: bytes, offset: int, length: int) -> int:
        """Read the route at `offset` and the equally long ones behind it; return their end."""
        known = self._known
        begin = offset + wire.DESTINATION
        if datagram[begin - 4 : begin] != _DESTINATION_HEADER or length % 4:
            message = datagram[offset : offset + length]
            self._add(_destination(message), read_form(message, self._name_of))
            return offset + ((length + 3) & ~3)
        alike = struct.Struct(f"{wire.DESTINATION}s4s{length - wire.DESTINATION - 4}s")
        end = offset + (len(datagram) - offset) // length * length
        for front, destination, rest in alike.iter_unpack(memoryview(datagram)[offset:end]):
            name = front + rest
            if name not in known:
                # Without a parsed header it is not known that a route of this length begins here.
                if offset + wire.DESTINATION != begin:
                    break
                known[name] = read_form(datagram[offset : offset + length], self._name_of)
            self._add(destination, known[name])
            offset += length
        return offset

    def _add(self, destination: bytes, form: Form | None) -> None:
        if form is not None:
            self.destinations.append(destination)
            self.forms.append(form)


def read_form(message: bytes, name_of: NameOf) -> Form | None:
    """Return the form of an RTM_NEWROUTE, or none for a cached route or one with a TOS."""
    payload = memoryview(message)[wire.HEADER.size :]
    _, length, _, tos, table, protocol, _, kind, flags = wire.RTMSG.unpack_from(payload)
    if flags & _RTM_F_CLONED or tos:
        return None
    metric = 0
    gateway = source = link = None
    hops: tuple[NextHop, ...] = ()
    for attribute, value in wire.attributes(payload, wire.RTMSG.size):
        if attribute == wire.RTA_OIF:
            link = name_of(int.from_bytes(value, byteorder))
        elif attribute == wire.RTA_GATEWAY:
            gateway = IPv4Address(int.from_bytes(value, "big"))
        elif attribute == wire.RTA_PRIORITY:
            metric = int.from_bytes(value, byteorder)
        elif attribute == wire.RTA_PREFSRC:
            source = IPv4Address(int.from_bytes(value, "big"))
        elif attribute == wire.RTA_TABLE:
            table = int.from_bytes(value, byteorder)
        elif attribute == wire.RTA_MULTIPATH:
            hops = tuple(_read_multipath(value, name_of))
    kinds: dict[int, Literal["unicast", "blackhole"]] = {
        wire.RTN_UNICAST: "unicast",
        wire.RTN_BLACKHOLE: "blackhole",
    }
    route = None
    if kind in kinds:
        if kind == wire.RTN_UNICAST and not hops:
            hops = (NextHop(gateway=gateway, link=link, onlink=bool(flags & wire.RTNH_F_ONLINK)),)
        route = Route(next_hops=hops, kind=kinds[kind], source=source)
    return Form(length=length, metric=metric, table=table, protocol=protocol, route=route)


def _destination(message: bytes) -> bytes:
    for attribute, value in wire.attributes(memoryview(message), wire.HEADER.size + wire.RTMSG.size):
        if attribute == wire.RTA_DST:
            return bytes(value)
    return bytes(4)


def _read_multipath(value: memoryview, name_of: NameOf) -> Iterator[NextHop]:
    offset = 0
    while offset + wire.NEXTHOP.size <= len(value):
        length, flags, _, index = wire.NEXTHOP.unpack_from(value, offset)
        if length < wire.NEXTHOP.size:
            return
        gateway = None
        for attribute, inner in wire.attributes(value[offset : offset + length], wire.NEXTHOP.size):
            if attribute == wire.RTA_GATEWAY:
                gateway = IPv4Address(int.from_bytes(inner, "big"))
        yield NextHop(gateway=gateway, link=name_of(index), onlink=bool(flags & wire.RTNH_F_ONLINK))
        offset += (length + 3) & ~3
