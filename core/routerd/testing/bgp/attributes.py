"""Path attributes as they are on the wire, and a view that reads the usual ones (RFC 4271 section 4.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address

import attrs


class Flag(IntFlag):
    """Attribute flags (RFC 4271 section 4.3).

    Added in 1.0.
    """

    OPTIONAL = 0x80
    TRANSITIVE = 0x40
    PARTIAL = 0x20
    EXTENDED = 0x10


class Code(IntEnum):
    """Attribute type codes (RFC 4271, RFC 1997, RFC 4456, RFC 4360, RFC 6793, RFC 8092).

    Added in 1.0.
    """

    ORIGIN = 1
    AS_PATH = 2
    NEXT_HOP = 3
    MED = 4
    LOCAL_PREF = 5
    ATOMIC_AGGREGATE = 6
    AGGREGATOR = 7
    COMMUNITIES = 8
    ORIGINATOR_ID = 9
    CLUSTER_LIST = 10
    EXTENDED_COMMUNITIES = 16
    AS4_PATH = 17
    LARGE_COMMUNITIES = 32


_SEQUENCE = 2
_WELL_KNOWN = Flag.TRANSITIVE
_PASSED = Flag.OPTIONAL | Flag.TRANSITIVE
_LOCAL = Flag.OPTIONAL


@attrs.frozen
class Attribute:
    """One path attribute: its flags as they came, type code and value.

    Added in 1.0.
    """

    flags: int
    code: int
    value: bytes

    def encode(self) -> bytes:
        """Return the attribute's bytes, with an extended length where it is needed."""
        if len(self.value) > 255 or self.flags & Flag.EXTENDED:
            return struct.pack("!BBH", self.flags | Flag.EXTENDED, self.code, len(self.value)) + self.value
        return struct.pack("!BBB", self.flags, self.code, len(self.value)) + self.value


def decode_attributes(data: bytes) -> tuple[Attribute, ...]:
    """Return the attributes in `data`; `ValueError` when it ends inside of one.

    Added in 1.0.
    """
    found: list[Attribute] = []
    while data:
        size = 4 if data[0] & Flag.EXTENDED else 3
        if len(data) < size:
            raise ValueError("a path attribute ends in its header")
        length = int.from_bytes(data[2:size], "big")
        if len(data) < size + length:
            raise ValueError(f"path attribute {data[1]} ends in its value")
        found.append(Attribute(data[0], data[1], data[size : size + length]))
        data = data[size + length :]
    return tuple(found)


def _numbers(values: Iterable[int]) -> bytes:
    return b"".join(struct.pack("!I", value) for value in values)


def _community(text: str) -> int:
    high, _, low = text.partition(":")
    return int(high) << 16 | int(low)


def path_attributes(
    next_hop: IPv4Address,
    *,
    as_path: Sequence[int] = (),
    local_preference: int | None = 100,
    med: int | None = None,
    communities: Sequence[str] = (),
    originator: IPv4Address | None = None,
    clusters: Sequence[IPv4Address] = (),
    more: Sequence[Attribute] = (),
) -> tuple[Attribute, ...]:
    """Return the attributes of a path as a correct speaker sends them, in the order of their codes.

    AS numbers have four bytes (RFC 6793). Communities are in the form `64512:100`. `more` are
    attributes given as they shall be on the wire.

    Added in 1.0.
    """
    segment = bytes([_SEQUENCE, len(as_path)]) + _numbers(as_path) if as_path else b""
    made = [
        Attribute(_WELL_KNOWN, Code.ORIGIN, b"\0"),
        Attribute(_WELL_KNOWN, Code.AS_PATH, segment),
        Attribute(_WELL_KNOWN, Code.NEXT_HOP, next_hop.packed),
    ]
    if med is not None:
        made.append(Attribute(_LOCAL, Code.MED, _numbers([med])))
    if local_preference is not None:
        made.append(Attribute(_WELL_KNOWN, Code.LOCAL_PREF, _numbers([local_preference])))
    if communities:
        made.append(Attribute(_PASSED, Code.COMMUNITIES, _numbers(map(_community, communities))))
    if originator is not None:
        made.append(Attribute(_LOCAL, Code.ORIGINATOR_ID, originator.packed))
    if clusters:
        made.append(Attribute(_LOCAL, Code.CLUSTER_LIST, b"".join(each.packed for each in clusters)))
    return tuple(sorted([*made, *more], key=lambda each: each.code))


@attrs.frozen
class PathView:
    """The usual attributes of a path, read; what is absent is none or empty.

    Added in 1.0.
    """

    attributes: tuple[Attribute, ...]

    def get(self, code: int) -> Attribute | None:
        """Return the attribute with a type code."""
        return next((each for each in self.attributes if each.code == code), None)

    @property
    def codes(self) -> list[int]:
        """Return the type codes in the order in which they came."""
        return [each.code for each in self.attributes]

    @property
    def next_hop(self) -> IPv4Address | None:
        """Return NEXT_HOP."""
        found = self.get(Code.NEXT_HOP)
        return IPv4Address(found.value) if found else None

    @property
    def local_preference(self) -> int | None:
        """Return LOCAL_PREF."""
        return self._number(Code.LOCAL_PREF)

    @property
    def med(self) -> int | None:
        """Return MULTI_EXIT_DISC."""
        return self._number(Code.MED)

    @property
    def originator(self) -> IPv4Address | None:
        """Return ORIGINATOR_ID."""
        found = self.get(Code.ORIGINATOR_ID)
        return IPv4Address(found.value) if found else None

    @property
    def clusters(self) -> tuple[IPv4Address, ...]:
        """Return CLUSTER_LIST, the last one that reflected the path first."""
        return tuple(map(IPv4Address, self._list(Code.CLUSTER_LIST)))

    @property
    def communities(self) -> frozenset[str]:
        """Return COMMUNITIES in the form `64512:100`."""
        return frozenset(f"{each >> 16}:{each & 0xFFFF}" for each in self._list(Code.COMMUNITIES))

    @property
    def as_path(self) -> tuple[int, ...]:
        """Return the AS numbers of all segments, each with four bytes."""
        found = self.get(Code.AS_PATH)
        data = found.value if found else b""
        path: list[int] = []
        while data:
            count = data[1]
            path += struct.unpack_from(f"!{count}I", data, 2)
            data = data[2 + 4 * count :]
        return tuple(path)

    def _number(self, code: Code) -> int | None:
        found = self._list(code)
        return found[0] if found else None

    def _list(self, code: Code) -> tuple[int, ...]:
        found = self.get(code)
        return struct.unpack(f"!{len(found.value) // 4}I", found.value) if found else ()
