"""TCP MD5 signatures (RFC 2385) on sockets of the test's own; Linux, tcp(7)."""

from __future__ import annotations

import contextlib
import socket
import struct
from ipaddress import IPv4Address

_TCP_MD5SIG = 14
_LONGEST_KEY = 80


def sign(connection: socket.socket, peer: IPv4Address, password: str) -> None:
    """Sign and check all segments to and from a peer; `OSError` when the kernel cannot.

    Added in 1.0.
    """
    key = password.encode()
    address = struct.pack("=H2x4s120x", socket.AF_INET, peer.packed)
    value = address + struct.pack(f"=2xH4x{_LONGEST_KEY}s", len(key), key)
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, value)


def md5_available() -> bool:
    """Say whether the kernel has TCP MD5 signatures.

    Added in 1.0.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        sign(probe, IPv4Address("192.0.2.1"), "probe")
        return True
    return False
