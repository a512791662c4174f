"""IPv4 in IPv4, byte for byte as Linux does it. Pure; nothing but the standard library.

RFC 2003 says how packets are wrapped, RFC 6040 what becomes of their congestion marks; where they
leave a choice, this is what `ip link add type ipip` does: the outer header has the tunnel's TTL,
DSCP 0, "don't fragment", no options.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("!BBHHHBBH4s4s")
HEADER_BYTES = HEADER.size
_VERSION_AND_LENGTH = 0x45
_DONT_FRAGMENT = 0x4000
_PROTOCOL = 4
_ECN = 0x03
_CE = 0x03
_ECT_0 = 0x02


def outer_ecn(inner_tos: int) -> int:
    """Return the outer congestion bits: the inner ones, but a mark set before the tunnel stays inside."""
    bits = inner_tos & _ECN
    return _ECT_0 if bits == _CE else bits


def outer_header(inner: bytes, *, local: bytes, remote: bytes, ttl: int) -> bytes:
    """Return the 20 bytes before `inner`; identification and checksum are left to the kernel."""
    return HEADER.pack(
        _VERSION_AND_LENGTH,
        outer_ecn(inner[1]),
        HEADER_BYTES + len(inner),
        0,
        _DONT_FRAGMENT,
        ttl,
        _PROTOCOL,
        0,
        local,
        remote,
    )


def is_ipv4(packet: bytes) -> bool:
    """Say whether `packet` is a whole IPv4 packet with a header that fits."""
    if len(packet) < HEADER_BYTES or packet[0] >> 4 != 4:
        return False
    header = (packet[0] & 0x0F) * 4
    total = packet[2] << 8 | packet[3]
    return HEADER_BYTES <= header <= total <= len(packet)


def unwrap(outer: bytes) -> bytes | None:
    """Return the packet inside of a received protocol-4 packet, or none when it is to be dropped."""
    if not is_ipv4(outer):
        return None
    return received(outer[(outer[0] & 0x0F) * 4 :], outer[1])


def received(inner: bytes, outer_tos: int) -> bytes | None:
    """Return what leaves the tunnel, or none when it is to be dropped (RFC 6040, figure 4)."""
    if not is_ipv4(inner):
        return None
    inner = inner[: inner[2] << 8 | inner[3]]
    if outer_tos & _ECN != _CE or inner[1] & _ECN == _CE:
        return inner
    if not inner[1] & _ECN:
        # Congestion was marked on a packet whose sender does not understand marks: only loss tells it.
        return None
    return _marked(inner)


def _marked(packet: bytes) -> bytes:
    """Return the packet with "congestion experienced" set and its checksum updated (RFC 1624)."""
    before = packet[0] << 8 | packet[1]
    after = before | _CE
    checksum = packet[10] << 8 | packet[11]
    total = (~checksum & 0xFFFF) + (~before & 0xFFFF) + after
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    checked = struct.pack("!H", ~total & 0xFFFF)
    return packet[:1] + bytes([after & 0xFF]) + packet[2:10] + checked + packet[12:]
