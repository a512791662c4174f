"""IPv4 packets that come out of a tunnel: checks, congestion marks, and checksums that are left to finish.

Pure; imports only the standard library, for the relay. Packets stay in their buffer at `start`, because
copying would be most of the work. Outgoing packets need no work here: the relay's sockets make the outer
header.
"""

import struct

_OVERHEAD = {"ipip": 20, "fou": 28, "gre": 24}
_KEY_BYTES = 4

HEADER = struct.Struct("!BBHHHBBHII")
HEADER_BYTES = HEADER.size
SMALLEST_MTU = 1280
"""Bytes; no link of a fabric has a smaller MTU, so a packet of this size passes everywhere."""

VIRTIO = struct.Struct("=BBHHHH")
VIRTIO_BYTES = VIRTIO.size
PLAIN = bytes(VIRTIO_BYTES)
"""`struct virtio_net_hdr` of a finished packet."""

_ECN = 0x03
_ECT_1 = 0x01
_ECT_0 = 0x02
_CE = 0x03
_DONT_FRAGMENT = 0x4000
_IS_FRAGMENT = 0x3FFF
_FRAGMENT_OFFSET = 0x1FFF
_ICMP, _TCP, _UDP = 1, 6, 17
_CHECKSUM_AT = {_TCP: 16, _UDP: 6}
_NEEDS_CHECKSUM = 1  # VIRTIO_NET_HDR_F_NEEDS_CSUM
_SEGMENTS = 1  # VIRTIO_NET_HDR_GSO_TCPV4
_SEGMENTS_WITH_CWR = 0x80  # VIRTIO_NET_HDR_GSO_ECN
_CWR = 0x80
_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
_QUOTED_BYTES = 548  # RFC 1812, 4.3.2.3: an ICMP error has at most 576 bytes
_INTERNETWORK_CONTROL = 0xC0


def overhead(mode: str, key: int | None) -> int:
    """Return the bytes that a mode adds: an IPv4 header, and that of UDP, or of GRE with its key."""
    return _OVERHEAD[mode] + (0 if key is None else _KEY_BYTES)


def outer_ecn(inner_tos: int) -> int:
    """Return the outer congestion bits: the inner ones, but a mark set before the tunnel stays inside."""
    bits = inner_tos & _ECN
    return _ECT_0 if bits == _CE else bits


def end_of(buffer: bytearray, start: int, end: int) -> int:
    """Return the end of the packet by its own header, or 0 for an incomplete or other packet."""
    if end - start < HEADER_BYTES:
        return 0
    first, total = buffer[start], buffer[start + 2] << 8 | buffer[start + 3]
    if first >> 4 != 4 or not HEADER_BYTES <= (first & 0x0F) * 4 <= total <= end - start:
        return 0
    return start + total


def accept(buffer: bytearray, start: int, end: int, outer_tos: int) -> int:
    """Return the end of a packet out of the tunnel, or 0 to drop it.

    It must be complete. A congestion mark of the outer header goes into it (RFC 6040, figure 4).
    """
    end = end_of(buffer, start, end)
    if not end:
        return 0
    tos, mark = buffer[start + 1], outer_tos & _ECN
    if mark in (_CE, _ECT_1) and tos & _ECN != mark:
        if mark == _CE and not tos & _ECN:
            # Its sender does not understand marks; only a loss signals congestion.
            return 0
        if mark == _CE or tos & _ECN == _ECT_0:
            _set_tos(buffer, start, tos & ~_ECN | mark)
    return end


def looks_unfinished(buffer: bytearray, start: int) -> bool:
    """Say whether the inner TCP or UDP checksum may be unfinished; one in 65535 only looks so.

    A kernel that leaves the checksum to hardware (CHECKSUM_PARTIAL: a neighbour on this machine,
    virtio) or has merged segments on receipt (GRO) puts the pseudo-header's sum in its place. A raw
    socket returns such a packet, which would not survive its next hop.
    """
    first, _, total, _, fragment, _, protocol, _, source, target = HEADER.unpack_from(buffer, start)
    offset = _CHECKSUM_AT.get(protocol)
    if offset is None or fragment & _IS_FRAGMENT:
        return False
    body = (first & 0x0F) * 4
    if body + offset + 2 > total:
        return False
    at = start + body + offset
    found: int = buffer[at] << 8 | buffer[at + 1]
    # Sums of 16-bit words in ones' complement are remainders by 65535, whatever the word's size.
    pseudo: int = source + target + protocol + total - body
    return not (found - pseudo) % 65535 and (protocol != _UDP or found != 0)


def is_finished(buffer: bytearray, start: int) -> bool:
    """Say whether the inner TCP or UDP checksum is finished."""
    if not looks_unfinished(buffer, start):
        return True
    first, _, total, _, _, _, protocol, _, source, target = HEADER.unpack_from(buffer, start)
    body, end = start + (first & 0x0F) * 4, start + total
    words = bytes(buffer[body:end]) + bytes((end - body) & 1)
    pseudo: int = source + target + protocol + end - body
    return (pseudo + int.from_bytes(words, "big")) % 65535 == 0


def virtio_header(buffer: bytearray, start: int, mtu: int) -> bytes:
    """Return the header that makes the kernel finish a packet: its checksum, and the cut of merged segments.

    The size of the merged segments is lost, so the kernel cuts them to a size that passes everywhere.
    """
    first, _, total, _, _, _, protocol, _, _, _ = HEADER.unpack_from(buffer, start)
    header = (first & 0x0F) * 4
    at = _CHECKSUM_AT[protocol]
    if protocol != _TCP or total <= mtu or total < header + HEADER_BYTES:
        return VIRTIO.pack(_NEEDS_CHECKSUM, 0, 0, 0, header, at)
    headers = header + (buffer[start + header + 12] >> 4) * 4
    kind = _SEGMENTS_WITH_CWR | _SEGMENTS if buffer[start + header + 13] & _CWR else _SEGMENTS
    return VIRTIO.pack(_NEEDS_CHECKSUM, kind, headers, max(min(mtu, SMALLEST_MTU) - headers, 8), header, at)


def too_big(packet: bytes, mtu: int) -> bytes | None:
    """Return the ICMP error to the sender of a packet that does not fit, or none.

    The kernel fills in the source. The sender of a packet that allows fragments gets no error: like the
    kernel's tunnels, ours make no fragments.
    """
    first, _, _, _, fragment, _, protocol, _, source, _ = HEADER.unpack_from(packet)
    header = (first & 0x0F) * 4
    if not fragment & _DONT_FRAGMENT or fragment & _FRAGMENT_OFFSET:
        return None
    if protocol == _ICMP and packet[header : header + 1] and packet[header] in _ICMP_ERRORS:
        return None
    quoted = packet[:_QUOTED_BYTES]
    words = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted + bytes(len(quoted) & 1)
    checksum = 65535 - (int.from_bytes(words, "big") % 65535)
    message = struct.pack("!BBHHH", 3, 4, checksum, 0, mtu) + quoted
    total = HEADER_BYTES + len(message)
    return HEADER.pack(0x45, _INTERNETWORK_CONTROL, total, 0, 0, 64, _ICMP, 0, 0, source) + message


def _set_tos(buffer: bytearray, start: int, tos: int) -> None:
    """Write the second byte of the header and update its checksum (RFC 1624)."""
    checksum = buffer[start + 10] << 8 | buffer[start + 11]
    total = (0xFFFF - checksum + tos - buffer[start + 1]) % 65535
    buffer[start + 1] = tos
    struct.pack_into("!H", buffer, start + 10, 0xFFFF - (total or 0xFFFF))
