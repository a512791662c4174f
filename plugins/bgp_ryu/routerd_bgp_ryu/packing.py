"""UPDATE messages with as many prefixes as fit, from prefixes and attributes on the wire. Pure.

RFC 4271 section 4.3. The library sends a message for each prefix.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from routerd_bgp_ryu.screen.frame import LONGEST
from routerd_bgp_ryu.screen.verdict import UPDATE, framed

_FIXED = 19 + 2 + 2
"""Octets of an UPDATE with nothing in it: header and two length fields."""

END_OF_RIB = framed(UPDATE, bytes(4))
"""An UPDATE with nothing in it: all that there is has been announced (RFC 4724 section 2)."""


def wire(prefix: IPv4Network) -> bytes:
    """Return a prefix as an UPDATE carries it: its length in bits, and the octets that count."""
    return bytes([prefix.prefixlen]) + prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]


def withdrawals(prefixes: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the UPDATEs that withdraw prefixes."""
    for routes in _batches(prefixes, LONGEST - _FIXED):
        yield framed(UPDATE, len(routes).to_bytes(2) + routes + b"\0\0")


def announcements(attributes: bytes, prefixes: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the UPDATEs that announce prefixes, all with these path attributes.

    Raises `ValueError` when the attributes leave no room for a prefix.
    """
    room = LONGEST - _FIXED - len(attributes)
    head = b"\0\0" + len(attributes).to_bytes(2) + attributes
    for reach in _batches(prefixes, room):
        yield framed(UPDATE, head + reach)


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
