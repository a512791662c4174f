"""Is a neighbour the speaker that its session expects, by what its OPEN says. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address

import attrs

from routerd.model.session import Session, Speaker

BAD_ASN = (2, 2)
BAD_ROUTER_ID = (2, 3)
"""OPEN Message Error: Bad Peer AS, Bad BGP Identifier (RFC 4271 section 6.2)."""

_HEADER = b"\xff" * 16
_OPEN = 1
_SHORTEST_OPEN = 29


@attrs.frozen(kw_only=True)
class Identity:
    """The identity that a speaker states in its OPEN."""

    asn: int
    router_id: IPv4Address


@attrs.frozen(kw_only=True)
class Mismatch:
    """Why a speaker is not the expected one: a NOTIFICATION's code and subcode, and words."""

    code: tuple[int, int]
    text: str


def mismatch(opened: Identity, session: Session, own: Speaker) -> Mismatch | None:
    """Return why the speaker of an OPEN may not have the session, or none when it may."""
    if opened.asn != session.peer_asn:
        expected = f"AS {session.peer_asn} of {session.whose}"
        return Mismatch(code=BAD_ASN, text=f"expected {expected}, came AS {opened.asn}")
    expected_id = session.peer_router_id
    if expected_id is not None and opened.router_id != expected_id:
        expected = f"router ID {expected_id} of {session.whose}"
        return Mismatch(code=BAD_ROUTER_ID, text=f"expected {expected}, came {opened.router_id}")
    if opened.router_id.is_unspecified:
        return Mismatch(code=BAD_ROUTER_ID, text=f"expected a router ID of {session.whose}, came 0.0.0.0")
    if opened.router_id == own.router_id and opened.asn == own.asn:
        # RFC 6286 section 2.2: inside one AS the same identifier is nobody else's.
        text = f"expected a router ID of {session.whose}, came our own, {own.router_id}"
        return Mismatch(code=BAD_ROUTER_ID, text=text)
    return None


def router_id_in(message: bytes) -> IPv4Address | None:
    """Return the BGP Identifier of an OPEN that is taken as it arrived; none when it is not an OPEN."""
    if len(message) < _SHORTEST_OPEN or message[:16] != _HEADER or message[18] != _OPEN:
        return None
    return IPv4Address(message[24:28])
