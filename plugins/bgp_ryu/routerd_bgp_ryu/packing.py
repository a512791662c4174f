"""UPDATE messages with as many prefixes as fit, from prefixes and attributes on the wire. Pure.

RFC 4271 section 4.3. The speaker's library sends a message for each prefix.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

MAX_MESSAGE = 4096
"""Bytes of the longest message (RFC 4271 section 4.1)."""

_HEADER = b"\xff" * 16
_UPDATE = 2
_FIXED = 19 + 2 + 2
"""Bytes of an UPDATE with nothing in it: header and two length fields."""


END_OF_RIB = _HEADER + struct.pack("!HBHH", _FIXED, _UPDATE, 0, 0)
"""An UPDATE with nothing in it: all that there is has been announced (RFC 4724 section 2)."""


def wire(prefix: IPv4Network) -> bytes:
    """Return a prefix as it stands in an UPDATE: its length in bits, and the bytes that count."""
    return bytes([prefix.prefixlen]) + prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]


def withdrawals(prefixes: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the UPDATEs that withdraw prefixes."""
    for routes in _batches(prefixes, MAX_MESSAGE - _FIXED):
        yield _message(struct.pack("!H", len(routes)) + routes + b"\0\0")


def announcements(attributes: bytes, prefixes: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the UPDATEs that announce prefixes, all with these path attributes.

    Raises `ValueError` when the attributes leave no room for a prefix.
    """
    room = MAX_MESSAGE - _FIXED - len(attributes)
    head = b"\0\0" + struct.pack("!H", len(attributes)) + attributes
    for reach in _batches(prefixes, room):
        yield _message(head + reach)


def _batches(prefixes: Iterable[bytes], room: int) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for prefix in prefixes:
        if len(prefix) > room:
            raise ValueError(f"{len(prefix)} bytes of prefix do not fit into {room}")
        if size + len(prefix) > room:
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(prefix)
        size += len(prefix)
    if batch:
        yield b"".join(batch)


def _message(body: bytes) -> bytes:
    return _HEADER + struct.pack("!HB", 19 + len(body), _UPDATE) + body
