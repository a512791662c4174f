"""Stands between a new connection and the library's state machine, and decides who becomes the session.

The library compares AS numbers only. It hands an OPEN to a peer that has a session already, and then
forgets the routes of that session. It takes KEEPALIVE and UPDATE from a connection that never sent an OPEN
as those of the peer's session. With all three, somebody else could speak for an admitted leaf.
"""

from os_ken.services.protocols.bgp import speaker

from routerd_bgp_ryu.child.engine import identity_of
from routerd_bgp_ryu.child.learned import Learned
from routerd_bgp_ryu.child.osken import Library, packet
from routerd_bgp_ryu.child.quirks import farewell
from routerd_bgp_ryu.child.reader import Farewells, Reader
from routerd_bgp_ryu.child.sessions import Sessions
from routerd_bgp_ryu.notification import COLLISION

_OUT_OF_TURN = (5, 0)


class Gate(speaker.BgpProtocol):  # type: ignore[misc]  # os-ken ships no types
    """A connection of the library. It lets one speaker per neighbour through, by way of a `Reader`."""

    sessions: Sessions
    learned: Learned
    farewells = Farewells()

    def _recv_loop(self) -> None:
        Reader(self, self.sessions, self.learned, self.farewells).run()

    def _validate_open_msg(self, opened: Library) -> None:
        if self._peer.protocol is not None:
            # RFC 4271 section 6.8. This OPEN would set the state of the session that is up.
            self._turn_away(COLLISION)
        code = self.sessions.judge(self._peer, identity_of(opened))
        if code is not None:
            self._turn_away(code)
        super()._validate_open_msg(opened)

    def _handle_msg(self, message: Library) -> None:
        opens = message.type == packet.BGP_MSG_OPEN
        if not (opens or message.type == packet.BGP_MSG_NOTIFICATION or self._is_bound):
            self._turn_away(_OUT_OF_TURN)
        super()._handle_msg(message)
        if opens and message.hold_time == 0 and self._is_bound:
            # The library starts no timers then, which is right, but sends no KEEPALIVE either. The neighbour
            # would stay in OpenConfirm (RFC 4271 section 8.2.2).
            self._send_keepalive()

    def _turn_away(self, code: tuple[int, int]) -> None:
        """Refuse the connection and drop what is unread of it.

        Raises an OSError, because the library prints a traceback for its own errors, at each attempt.
        """
        farewell(self._socket, code)
        raise ConnectionAbortedError(f"refused ({code[0]}/{code[1]})")
