"""Prefixes as an UPDATE carries them: a length in bits and as many octets as that needs. Pure.

The screen keeps a prefix as these octets, with trailing bits of zero.
"""

from ipaddress import IPv4Network


def split(field: bytes) -> list[bytes] | None:
    """Return the prefixes of a field; none when its syntax is wrong (RFC 7606 section 5.3).

    Clears the trailing bits, which mean nothing (RFC 4271 section 4.3): the library takes them for a part of
    the address.
    """
    found: list[bytes] = []
    start, end = 0, len(field)
    while start < end:
        bits = field[start]
        stop = start + 1 + ((bits + 7) >> 3)
        if bits > 32 or stop > end:
            return None
        prefix = field[start:stop]
        if bits & 7 and prefix[-1] & (0xFF >> (bits & 7)):
            prefix = prefix[:-1] + bytes([prefix[-1] & (0xFF00 >> (bits & 7)) & 0xFF])
        found.append(prefix)
        start = stop
    return found


def text(prefix: bytes) -> str:
    """Return a prefix as text, such as `10.0.0.0/8`."""
    return str(IPv4Network((prefix[1:].ljust(4, b"\0"), prefix[0])))
