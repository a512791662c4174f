"""BGP messages by their octets, right and wrong ones alike; nothing here checks anything."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from routerd_bgp_ryu.screen import NOTIFICATION, OPEN, ROUTE_REFRESH, UPDATE, Terms

ORIGIN = bytes.fromhex("40010100")
PATH = bytes.fromhex("400200")
NEXT_HOP = bytes.fromhex("4003040a000005")
PREFERENCE = bytes.fromhex("40050400000064")
USUAL = ORIGIN + PATH + NEXT_HOP + PREFERENCE
"""Attributes of a route inside one AS; its next hop is 10.0.0.5."""

TERMS = Terms(
    asn=64577,
    peer_asn=64577,
    router_id=IPv4Address("10.0.0.1"),
    cluster_id=IPv4Address("10.0.0.1"),
    local=IPv4Address("10.0.0.1"),
)
"""Two speakers inside one AS; ours is 10.0.0.1."""

CAPABILITIES = bytes.fromhex("0104000100010200")


def message(kind: int, body: bytes) -> bytes:
    """Return a message."""
    return b"\xff" * 16 + (19 + len(body)).to_bytes(2) + bytes([kind]) + body


def attribute(flags: int, kind: int, value: bytes) -> bytes:
    """Return a path attribute; one that is long needs the flag 0x10."""
    return bytes([flags, kind]) + len(value).to_bytes(2 if flags & 0x10 else 1) + value


def prefix(text: str) -> bytes:
    """Return a prefix."""
    network = IPv4Network(text)
    return bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8]


def update(attributes: bytes = b"", *announced: str, withdrawn: tuple[str, ...] = ()) -> bytes:
    """Return an UPDATE."""
    gone = b"".join(map(prefix, withdrawn))
    reach = b"".join(map(prefix, announced))
    return message(UPDATE, len(gone).to_bytes(2) + gone + len(attributes).to_bytes(2) + attributes + reach)


def opening(
    parameters: bytes | None = None, *, asn: int = 64577, hold: int = 90, version: int = 4, claimed: int = -1
) -> bytes:
    """Return an OPEN; `claimed` is the length that it gives of its parameters, by default the right one."""
    usual = CAPABILITIES + b"\x41\x04" + asn.to_bytes(4)
    if parameters is None:
        parameters = bytes([2, len(usual)]) + usual
    head = bytes([version]) + min(asn, 23456 if asn > 65535 else asn).to_bytes(2) + hold.to_bytes(2)
    size = len(parameters) if claimed < 0 else claimed
    return message(OPEN, head + IPv4Address("10.99.0.11").packed + bytes([size]) + parameters)


def notification(code: int, subcode: int, data: bytes = b"") -> bytes:
    """Return a NOTIFICATION."""
    return message(NOTIFICATION, bytes([code, subcode]) + data)


def refresh(body: bytes = b"\x00\x01\x00\x01") -> bytes:
    """Return a ROUTE-REFRESH."""
    return message(ROUTE_REFRESH, body)
