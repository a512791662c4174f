"""Stands between a new connection and the library's state machine: who may become the session.

The library compares AS numbers only, hands an OPEN to a peer that has a session already (whose
routes it then forgets), and takes KEEPALIVE and UPDATE from a connection that never sent an OPEN
for those of the peer's session. All three would let somebody else speak for an admitted leaf.
"""

from __future__ import annotations

import socket
from functools import partial
from ipaddress import IPv4Address

from routerd_bgp_ryu.child.quirks import Library, farewell
from routerd_bgp_ryu.child.reader import Farewells, Reader, Speakers, Watch, mend_parser
from routerd_bgp_ryu.identity import Identity
from routerd_bgp_ryu.notification import COLLISION

_OUT_OF_TURN = (5, 0)


class Gate:
    """Lets one speaker per neighbour through, and of what it says only what the library can read."""

    def __init__(self, packet: Library, speakers: Speakers, watch: Watch) -> None:
        self._packet = packet
        self._speakers = speakers
        self._watch = watch
        self._farewells = Farewells()
        mend_parser(packet)

    def guard(self, protocol: Library) -> Library:
        """Return the protocol of a new connection, which now asks here about each message."""
        protocol._validate_open_msg = partial(self._opened, protocol, protocol._validate_open_msg)  # noqa: SLF001 - there is no public way to it
        protocol._handle_msg = partial(self._received, protocol, protocol._handle_msg)  # noqa: SLF001 - as above
        protocol._recv_loop = Reader(protocol, self._packet, self._speakers, self._watch, self._farewells).run  # noqa: SLF001 - as above
        return protocol

    def _opened(self, protocol: Library, validate: Library, opened: Library) -> None:
        peer = protocol._peer  # noqa: SLF001 - as above
        if peer.protocol is not None:
            # RFC 4271 section 6.8. Let through, it would set the state of the session that is up.
            self._turn_away(protocol, COLLISION)
        code = self._speakers.judge(peer, identity_of(opened, self._packet))
        if code is not None:
            self._turn_away(protocol, code)
        validate(opened)

    def _received(self, protocol: Library, handle: Library, message: Library) -> None:
        own = (self._packet.BGP_MSG_OPEN, self._packet.BGP_MSG_NOTIFICATION)
        if message.type not in own and not protocol._is_bound:  # noqa: SLF001 - as above
            self._turn_away(protocol, _OUT_OF_TURN)
        handle(message)

    def _turn_away(self, protocol: Library, code: tuple[int, int]) -> None:
        """Refuse a connection and end it, with what is left unread of it.

        An OSError, because the library prints a traceback for an error of its own, at each attempt.
        """
        connection: socket.socket = protocol._socket  # noqa: SLF001 - as above
        farewell(connection, code)
        raise ConnectionAbortedError(f"refused ({code[0]}/{code[1]})")


def identity_of(opened: Library, packet: Library) -> Identity:
    """Return the identity that an OPEN of the library states; AS numbers have four bytes (RFC 6793)."""
    wide = opened.opt_param_cap_map.get(packet.BGP_CAP_FOUR_OCTET_AS_NUMBER)
    return Identity(
        asn=opened.my_as if wide is None else wide.as_number, router_id=IPv4Address(opened.bgp_identifier)
    )
