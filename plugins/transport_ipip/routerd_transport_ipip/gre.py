"""The header of GRE (RFC 2784), its key (RFC 2890), and the filter between tunnels with the same ends.

The relay sends headers with at most the key bit. It also accepts checksums, but neither sequence numbers
nor the other fields of RFC 1701. This module imports only the standard library, for the relay.
"""

from __future__ import annotations

import array
import contextlib
import socket
import struct

from routerd_transport_ipip import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    # The real one costs memory in a process that should stay small.
    from collections.abc import Sequence

PROTOCOL_GRE = 47

_CHECKSUM = 0x8000
_KEY = 0x2000
# Routing, sequence number, the other bits up to 5, and the version. A receiver ignores bits 6 to 12.
_REFUSED = 0x4000 | 0x1000 | 0x0800 | 0x0400 | 0x0007
_IPV4 = b"\x08\x00"
_SHORT = 4

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_LOAD_BYTES_OF_IP_HEADER = 0xB1  # BPF_LDX | BPF_B | BPF_MSH: the header's length, into the index
_LOAD_HALF = 0x48  # BPF_LD | BPF_H | BPF_IND: relative to the index, like the next
_LOAD_WORD = 0x40
_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_SET = 0x45
_GO = 0x05
_RETURN = 0x06
_ALL = 0xFFFFFFFF
_MOST_KEYS = 2000
"""Maximum keys of a filter: each takes two of the 4096 instructions of a program."""


def header(key: int | None) -> bytes:
    """Return the header of an IPv4 packet."""
    return struct.pack("!H2s", 0, _IPV4) if key is None else struct.pack("!H2sI", _KEY, _IPV4, key)


def opened(buffer: bytearray, start: int, end: int, wanted: bytes) -> int:
    """Return the begin of the inner packet, or 0 to drop it; `wanted` is our own header."""
    if buffer.startswith(wanted, start, end):
        return start + len(wanted)
    return _opened_slowly(buffer, start, end, wanted)


def _opened_slowly(buffer: bytearray, start: int, end: int, wanted: bytes) -> int:
    if end - start < _SHORT or buffer[start + 2 : start + 4] != _IPV4:
        return 0
    flags = buffer[start] << 8 | buffer[start + 1]
    if flags & _REFUSED:
        return 0
    at = start + (8 if flags & _CHECKSUM else 4)
    inner = at + (4 if flags & _KEY else 0)
    if inner > end or buffer[at:inner] != wanted[_SHORT:]:
        return 0
    if flags & _CHECKSUM and not _is_right(buffer, start, inner, end):
        return 0
    return inner


def _is_right(buffer: bytearray, start: int, inner: int, end: int) -> bool:
    """Say whether the checksum is right, or is not verifiable here.

    It covers the packet on the wire. A kernel on this machine or behind virtio leaves it to hardware,
    with zero in its place (`gre_build_header`), or leaves the inner one, which it covers (see
    `packets.looks_unfinished`). The kernel has verified merged segments before it merged them
    (`gre_gro_receive`).
    """
    if not (buffer[start + 4] or buffer[start + 5]):
        return True
    words = bytes(buffer[start:end]) + bytes((end - start) & 1)
    if int.from_bytes(words, "big") % 65535 == 0:
        return True
    return bool(packets.end_of(buffer, inner, end)) and packets.looks_unfinished(buffer, inner)


def filter_without(keys: Sequence[int | None]) -> bytes:
    """Return the program for a raw socket that ignores packets with these keys.

    Each tunnel has its own socket, and the kernel gives a packet to all sockets between its two ends.
    Without a filter each of n tunnels would read the packets of all n.
    """
    with_keys = [key for key in keys if key is not None][:_MOST_KEYS]
    refused = [each for key in with_keys for each in (_step(_IF_EQUAL, key, 0, 1), _step(_RETURN, 0))]
    return b"".join(
        (
            _step(_LOAD_BYTES_OF_IP_HEADER, 0),
            _step(_LOAD_HALF, 0),
            _step(_IF_SET, _KEY, 1, 0),
            _step(_RETURN, 0 if None in keys else _ALL),
            _step(_IF_SET, _CHECKSUM, 2, 0),
            _step(_LOAD_WORD, 4),
            _step(_GO, 1),
            _step(_LOAD_WORD, 8),
            *refused,
            _step(_RETURN, _ALL),
        )
    )


def attach(to: socket.socket, program: bytes) -> None:
    """Replace the filter of a socket; an empty program removes it."""
    if not program:
        with contextlib.suppress(FileNotFoundError):
            to.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        return
    held = array.array("B", program)
    address, _ = held.buffer_info()
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, address))


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)
