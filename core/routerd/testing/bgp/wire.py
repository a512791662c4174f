"""BGP messages as values, to bytes and back (RFC 4271 section 4, RFC 5492, RFC 2918).

The encoder takes any value, also one that no speaker may send; the decoder is strict.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd.testing.bgp.attributes import Attribute, PathView, decode_attributes

HEADER = 19
LONGEST = 4096
AS_TRANS = 23456
_MARKER = b"\xff" * 16
_OPEN, _UPDATE, _NOTIFICATION, _KEEPALIVE, _REFRESH = 1, 2, 3, 4, 5
_CAPABILITIES = 2


@attrs.frozen
class Capability:
    """One capability of an OPEN (RFC 5492).

    Added in 1.0.
    """

    code: int
    value: bytes = b""


IPV4_UNICAST = Capability(1, b"\0\1\0\1")
"""Multiprotocol, IPv4 unicast (RFC 4760)."""

ROUTE_REFRESH = Capability(2)
"""Route refresh (RFC 2918)."""

FOUR_OCTETS = 65
"""Code of the capability that carries the AS number (RFC 6793)."""


def capabilities(asn: int) -> tuple[Capability, ...]:
    """Return what today's speakers offer: IPv4 unicast, route refresh, AS numbers of four bytes.

    Added in 1.0.
    """
    return (IPV4_UNICAST, ROUTE_REFRESH, Capability(FOUR_OCTETS, struct.pack("!I", asn)))


@attrs.frozen(kw_only=True)
class Open:
    """An OPEN. `my_as` is the field of two bytes; `asn` the number that counts.

    Added in 1.0.
    """

    my_as: int
    router_id: IPv4Address
    hold_time: int = 90
    capabilities: tuple[Capability, ...] = ()
    version: int = 4

    @classmethod
    def of(cls, asn: int, router_id: IPv4Address, hold_time: int = 90) -> Open:
        """Return the OPEN of a speaker with an AS number of any size and the usual capabilities."""
        my_as = asn if asn < 1 << 16 else AS_TRANS
        return cls(my_as=my_as, router_id=router_id, hold_time=hold_time, capabilities=capabilities(asn))

    @property
    def asn(self) -> int:
        """Return the AS number, from the capability where there is one (RFC 6793 section 4)."""
        for each in self.capabilities:
            if each.code == FOUR_OCTETS:
                return int.from_bytes(each.value, "big")
        return self.my_as


@attrs.frozen(kw_only=True)
class Update:
    """An UPDATE: prefixes withdrawn, and prefixes reached, all with the same attributes.

    Added in 1.0.
    """

    attributes: tuple[Attribute, ...] = ()
    reach: tuple[IPv4Network, ...] = ()
    withdrawn: tuple[IPv4Network, ...] = ()

    @property
    def path(self) -> PathView:
        """Return the attributes, read."""
        return PathView(self.attributes)


@attrs.frozen
class Notification:
    """A NOTIFICATION, after which the connection ends.

    Added in 1.0.
    """

    code: int
    subcode: int = 0
    data: bytes = b""

    @property
    def error(self) -> tuple[int, int]:
        """Return code and subcode."""
        return self.code, self.subcode


@attrs.frozen
class Keepalive:
    """A KEEPALIVE.

    Added in 1.0.
    """


@attrs.frozen
class RouteRefresh:
    """A ROUTE-REFRESH, for IPv4 unicast unless another family is named.

    Added in 1.0.
    """

    afi: int = 1
    safi: int = 1


Message = Open | Update | Notification | Keepalive | RouteRefresh


def encode(message: Message) -> bytes:
    """Return a message's bytes; `ValueError` when it is longer than BGP allows.

    Added in 1.0.
    """
    kind, body = _encoded(message)
    if HEADER + len(body) > LONGEST:
        raise ValueError(f"a message of {HEADER + len(body)} bytes; BGP allows {LONGEST}")
    return _MARKER + struct.pack("!HB", HEADER + len(body), kind) + body


def _encoded(message: Message) -> tuple[int, bytes]:
    match message:
        case Open():
            return _OPEN, _encode_open(message)
        case Update():
            return _UPDATE, _encode_update(message)
        case Notification():
            return _NOTIFICATION, bytes(message.error) + message.data
        case Keepalive():
            return _KEEPALIVE, b""
        case RouteRefresh():
            return _REFRESH, struct.pack("!HBB", message.afi, 0, message.safi)


def _encode_open(message: Open) -> bytes:
    offered = b"".join(bytes([each.code, len(each.value)]) + each.value for each in message.capabilities)
    parameters = bytes([_CAPABILITIES, len(offered)]) + offered if offered else b""
    fixed = struct.pack("!BHH", message.version, message.my_as, message.hold_time)
    return fixed + message.router_id.packed + bytes([len(parameters)]) + parameters


def _encode_update(message: Update) -> bytes:
    withdrawn = b"".join(map(_encode_prefix, message.withdrawn))
    attributes = b"".join(each.encode() for each in message.attributes)
    reach = b"".join(map(_encode_prefix, message.reach))
    sized = struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(attributes)) + attributes
    return sized + reach


def _encode_prefix(prefix: IPv4Network) -> bytes:
    return bytes([prefix.prefixlen]) + prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]


def decode(kind: int, body: bytes) -> Message:
    """Return the message of a type and its body; `ValueError` or `struct.error` when it is malformed.

    Added in 1.0.
    """
    match kind:
        case 1:
            return _decode_open(body)
        case 2:
            return _decode_update(body)
        case 3:
            return Notification(body[0], body[1], body[2:])
        case 4 if not body:
            return Keepalive()
        case 5:
            afi, _, safi = struct.unpack("!HBB", body)
            return RouteRefresh(afi, safi)
        case _:
            raise ValueError(f"a message of type {kind} with {len(body)} bytes")


def _decode_open(body: bytes) -> Open:
    version, my_as, hold_time = struct.unpack_from("!BHH", body)
    parameters = body[10 : 10 + body[9]]
    found: list[Capability] = []
    while parameters:
        kind, length = parameters[0], parameters[1]
        if kind == _CAPABILITIES:
            found += _decode_capabilities(parameters[2 : 2 + length])
        parameters = parameters[2 + length :]
    return Open(
        version=version,
        my_as=my_as,
        hold_time=hold_time,
        router_id=IPv4Address(body[5:9]),
        capabilities=tuple(found),
    )


def _decode_capabilities(data: bytes) -> list[Capability]:
    found: list[Capability] = []
    while data:
        found.append(Capability(data[0], data[2 : 2 + data[1]]))
        data = data[2 + data[1] :]
    return found


def _decode_update(body: bytes) -> Update:
    (length,) = struct.unpack_from("!H", body)
    withdrawn, rest = body[2 : 2 + length], body[2 + length :]
    (length,) = struct.unpack_from("!H", rest)
    return Update(
        withdrawn=_decode_prefixes(withdrawn),
        attributes=decode_attributes(rest[2 : 2 + length]),
        reach=_decode_prefixes(rest[2 + length :]),
    )


def _decode_prefixes(data: bytes) -> tuple[IPv4Network, ...]:
    found: list[IPv4Network] = []
    while data:
        size = (data[0] + 7) // 8
        if data[0] > 32 or len(data) < 1 + size:
            raise ValueError(f"a prefix of {data[0]} bits in {len(data) - 1} bytes")
        found.append(IPv4Network((data[1 : 1 + size].ljust(4, b"\0"), data[0])))
        data = data[1 + size :]
    return tuple(found)
