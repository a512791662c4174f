"""Compares the sender of an OPEN with the speaker that the session expects. Pure."""

from ipaddress import IPv4Address

import attrs

from routerd.model.session import Session, Speaker
from routerd_bgp_ryu.screen import OPEN, Fault, Framer

BAD_ASN = (2, 2)
BAD_ROUTER_ID = (2, 3)
"""OPEN Message Error: Bad Peer AS, Bad BGP Identifier (RFC 4271 section 6.2)."""


@attrs.frozen(kw_only=True)
class Identity:
    """The identity that a speaker states in its OPEN."""

    asn: int
    router_id: IPv4Address


def mismatch(opened: Identity, session: Session, own: Speaker) -> Fault | None:
    """Return why the sender of an OPEN may not have the session, or none when it may."""
    if opened.asn != session.peer_asn:
        expected = f"AS {session.peer_asn} of {session.whose}"
        return Fault(code=BAD_ASN, text=f"expected {expected}, came AS {opened.asn}")
    expected_id = session.peer_router_id
    if expected_id is not None and opened.router_id != expected_id:
        expected = f"router ID {expected_id} of {session.whose}"
        return Fault(code=BAD_ROUTER_ID, text=f"expected {expected}, came {opened.router_id}")
    if opened.router_id.is_unspecified:
        return Fault(code=BAD_ROUTER_ID, text=f"expected a router ID of {session.whose}, came 0.0.0.0")
    if opened.router_id == own.router_id and opened.asn == own.asn:
        # RFC 6286 section 2.2: inside one AS no other speaker has the same identifier.
        text = f"expected a router ID of {session.whose}, came our own, {own.router_id}"
        return Fault(code=BAD_ROUTER_ID, text=text)
    return None


def router_id_in(message: bytes) -> IPv4Address | None:
    """Return the BGP Identifier of an OPEN at the start of what came; none when something else came."""
    first = next(Framer().feed(message), None)
    return IPv4Address(first[24:28]) if isinstance(first, bytes) and first[18] == OPEN else None
