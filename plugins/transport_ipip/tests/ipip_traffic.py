"""Packets to send through a tunnel, and the bytes that the wire must have. Not a test itself."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
from pathlib import Path

from plugins.transport_ipip.tests.ipip_world import Host, capture
from tests.support.waiting import PATIENCE

TOS = [(0x00, "00"), (0xB9, "01"), (0x02, "02"), (0xBB, "02")]
"""The TOS of a packet, and the one of its outer header."""

DATA = os.urandom(1 << 20)

# What Linux sends from 192.0.2.1 for `ip link add ... type ipip local 192.0.2.1 remote 192.0.2.2 ttl 64`,
# with `encap fou encap-sport 5555 encap-dport 5555`, and for `type gre` without and with `key 0xc0ffee`:
# version 4, 20 bytes, TOS 0 or the inner packet's congestion bits, "don't fragment", TTL 64, protocol 4,
# 17 or 47; UDP without a checksum. The identification and the checksum over it are free.
GOLDEN = {
    "ipip": "45 {tos} {length} .... 40 00 40 04 .... c0 00 02 01 c0 00 02 02",
    "fou": "45 {tos} {length} .... 40 00 40 11 .... c0 00 02 01 c0 00 02 02 15 b3 15 b3 {udp} 00 00",
    "gre": "45 {tos} {length} .... 40 00 40 2f .... c0 00 02 01 c0 00 02 02 00 00 08 00",
    "gre+key": "45 {tos} {length} .... 40 00 40 2f .... c0 00 02 01 c0 00 02 02 20 00 08 00 00 c0 ff ee",
}


def transfer(source: Host, target: Host) -> None:
    """Send DATA by TCP over the tunnel and compare what arrives."""
    with target.here():
        listener = socket.create_server((target.inner, 7000))
    listener.settimeout(PATIENCE)
    received = hashlib.sha256()

    def take() -> None:
        taken, _ = listener.accept()
        with taken:
            taken.settimeout(PATIENCE)
            while block := taken.recv(1 << 20):
                received.update(block)

    taking = threading.Thread(target=take)
    with listener:
        with source.here(), socket.create_connection((target.inner, 7000), timeout=PATIENCE) as sending:
            taking.start()
            sending.sendall(DATA)
        taking.join(PATIENCE)
    assert received.digest() == hashlib.sha256(DATA).digest()


def retransmitted(host: Host) -> float:
    """The share of TCP segments that a host had to send again."""
    with host.here():
        names, values = [
            line.split()
            for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
            if line.startswith("Tcp:")
        ]
    counts = dict(zip(names, values, strict=True))
    return int(counts["RetransSegs"]) / int(counts["OutSegs"])


def inner_packet(
    source: Host, target: Host, payload: bytes, *, tos: int = 0, checksum: int | None = None
) -> bytes:
    """An IPv4 packet with UDP from port 1000 to port 2000; no UDP checksum unless given."""
    udp = struct.pack("!HHHH", 1000, 2000, 8 + len(payload), checksum or 0) + payload
    ends = socket.inet_aton(source.inner) + socket.inet_aton(target.inner)
    head = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(udp), 7, 0, 64, 17, 0)
    total = 65535 - int.from_bytes(head + ends, "big") % 65535
    return head[:10] + struct.pack("!H", total) + ends + udp


def check_the_wire(mode: str, a: Host, b: Host, inner_tos: int, outer_tos: str) -> None:
    """Send a packet from a to b and compare what is on the wire with what Linux sends."""
    inner = inner_packet(a, b, b"golden packet", tos=inner_tos)
    with (
        a.here(),
        capture(b) as first,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
    ):
        raw.sendto(inner, (b.inner, 0))
        seen = first(lambda packet: packet.endswith(b"golden packet"))
    assert seen.endswith(inner)
    lengths = {"length": f"{len(seen):04x}", "udp": f"{len(seen) - 20:04x}"}
    golden = GOLDEN[mode].format(tos=outer_tos, **lengths).replace(" ", "")
    outer = seen[: len(seen) - len(inner)].hex()
    assert "".join("." if want == "." else got for want, got in zip(golden, outer, strict=True)) == golden, (
        outer
    )
    assert int.from_bytes(seen[:20], "big") % 65535 == 0, "the outer checksum"
