"""Reads what arrives on a connection: the screen judges it, and the library handles the rest."""

import logging
import socket
from typing import NoReturn

import attrs
import eventlet

from routerd_bgp_ryu.child.learned import Learned
from routerd_bgp_ryu.child.osken import Library, packet
from routerd_bgp_ryu.child.quirks import farewell
from routerd_bgp_ryu.child.sessions import Sessions
from routerd_bgp_ryu.packing import END_OF_RIB
from routerd_bgp_ryu.screen import (
    OPEN,
    ROUTE_REFRESH,
    UPDATE,
    Fault,
    Framer,
    Screen,
    Verdict,
    withdrawal,
)

_LOG = logging.getLogger("routerd.bgp")
_NOT_CONFIRMED = (5, 2)
"""Finite State Machine Error: unexpected message in OpenConfirm (RFC 6608 section 4)."""

_ESTABLISHED = "Established"
_CHUNK = 64 << 10
"""Octets to read at once; the library's own loop reads 19."""

_SHOWN = 500
"""Octets in the log of a message at which the library raised, once for a connection."""

_MOST_FAREWELLS = 100


@attrs.define(eq=False)
class Farewells:
    """The NOTIFICATIONs on connections that are over, until the neighbour has read them.

    Each takes a descriptor for up to two seconds. At most `most` wait at once, or a neighbour that comes
    again and again would take all descriptors. A connection beyond them closes without a NOTIFICATION.
    """

    _most: int = _MOST_FAREWELLS
    _under_way: int = 0

    def say(self, connection: socket.socket, fault: Fault) -> None:
        """Close a connection; send its NOTIFICATION on a second descriptor in a green thread."""
        if self._under_way < self._most:
            self._under_way += 1
            eventlet.spawn(self._say, connection.dup(), fault)
        connection.close()

    def _say(self, connection: socket.socket, fault: Fault) -> None:
        try:
            farewell(connection, fault.code, fault.data)
        finally:
            self._under_way -= 1


@attrs.define(eq=False)
class Reader:
    """Reads one connection, in the place of the library's `_recv_loop`.

    What complicates this:

    - The library may raise anything at an UPDATE. The reader then hands it a withdrawal of the same prefixes,
      and ends the session only if that fails too. No other session notices.
    - The library reads on after the end of a session, and stays half alive when its thread dies. `run` always
      ends with `connection_lost`, and no message passes after a NOTIFICATION.
    - The terms of the screen change once: only the OPEN says whether AS numbers have four octets.
    - A connection may end before it is the session. What happens on it then is not the session's.
    - An UPDATE of which the screen leaves nothing still proves that the neighbour lives (RFC 4271 section
      6.5).
    - A NOTIFICATION must reach the neighbour although the connection closes at once (`Farewells`).
    """

    _protocol: Library
    _sessions: Sessions
    _learned: Learned
    _farewells: Farewells
    _framer: Framer = attrs.field(factory=Framer, init=False)
    _screen: Screen | None = attrs.field(default=None, init=False)
    _puzzled: bool = attrs.field(default=False, init=False)

    def run(self) -> None:
        """Read until the connection has ended, and report the reason to the library."""
        connection: socket.socket = self._protocol._socket  # noqa: SLF001 - there is no public way to it
        reason = "the speaker has ended it"
        try:
            while received := connection.recv(_CHUNK):
                self(received)
            reason = "Peer closed connection"
        except OSError as error:
            reason = f"Connection to peer lost: {error}."
        except Exception as error:  # noqa: BLE001 - a dead thread would leave the session half alive
            reason = f"{type(error).__name__}: {error}"
            _LOG.exception("%s: the reader failed", self._protocol._remotename[0])  # noqa: SLF001 - as above
        finally:
            self._protocol.connection_lost(reason)
            connection.close()

    def __call__(self, received: bytes) -> None:
        """Handle each message that is whole now; raises `OSError` when the connection has ended."""
        for message in self._framer.feed(received):
            if not self._open():
                # A NOTIFICATION has come; what follows it does not count.
                raise ConnectionAbortedError("the session has ended")
            if isinstance(message, Fault):
                self._end(message)
            self._take(message)

    def _open(self) -> bool:
        connection: socket.socket = self._protocol._socket  # noqa: SLF001 - there is no public way to it
        return self._protocol._peer is not None and connection.fileno() >= 0  # noqa: SLF001 - as above

    def _take(self, message: bytes) -> None:
        kind = message[18]
        protocol, peer = self._protocol, self._protocol._peer  # noqa: SLF001 - as above
        routing = kind in (UPDATE, ROUTE_REFRESH) and protocol._is_bound  # noqa: SLF001 - as above
        if routing and peer.state.bgp_state != _ESTABLISHED:
            self._end(Fault(code=_NOT_CONFIRMED, text="routes before the session is confirmed"))
        verdict = self._judged(message)
        if verdict.fault is not None:
            self._end(verdict.fault)
        if kind == UPDATE and protocol._is_bound:  # noqa: SLF001 - as above
            self._learned.screened(peer, verdict)
            if not verdict.messages and protocol._expiry is not None:  # noqa: SLF001 - as above
                protocol._expiry.reset()  # noqa: SLF001 - as above
        for each in verdict.messages:
            self._pass_on(each)
        if message == END_OF_RIB and routing:
            self._learned.complete(peer)

    def _judged(self, message: bytes) -> Verdict:
        if self._screen is None:
            self._screen = Screen(self._sessions.terms(self._protocol))
        elif message[18] == UPDATE and self._screen.terms.wide != self._protocol.cap_four_octet_as_number:
            self._screen = self._screen.narrow()
        return self._screen.judge(message)

    def _pass_on(self, message: bytes) -> None:
        """Hand a message to the library; after any exception the session is whole or over."""
        try:
            self._handle(message)
        except OSError:
            raise  # the connection is over
        except packet.BgpExc as error:
            self._end(Fault(code=(error.CODE, error.SUB_CODE), text=str(error)))
        except Exception as error:  # noqa: BLE001 - the library's parser and handlers raise all kinds
            self._unforeseen(message, error)

    def _handle(self, message: bytes) -> None:
        parsed, _, _ = packet.BGPMessage.parser(message)
        self._protocol._handle_msg(parsed)  # noqa: SLF001 - as above

    def _unforeseen(self, message: bytes, error: Exception) -> None:
        """Withdraw what an UPDATE names that the library cannot handle; end the session if that fails."""
        if not self._open() or not self._protocol.started:
            raise ConnectionAbortedError(str(error)) from error
        what = f"{type(error).__name__}: {error}"
        if not self._puzzled:
            self._puzzled = True
            said = message[:_SHOWN].hex()
            _LOG.error("%s: %s at %s", self._protocol._remotename[0], what, said, exc_info=error)  # noqa: SLF001 - as above
        instead = withdrawal(message, what) if message[18] == UPDATE else None
        if instead is not None:
            try:
                self._handle(instead.messages[0])
            except OSError:
                raise
            except Exception as again:  # noqa: BLE001 - as above
                what = f"{type(again).__name__}: {again}"
            else:
                self._learned.screened(self._protocol._peer, instead)  # noqa: SLF001 - as above
                return
        code = {OPEN: (2, 0), UPDATE: (3, 0)}.get(message[18], (6, 0))
        self._end(Fault(code=code, text=what))

    def _end(self, fault: Fault) -> NoReturn:
        """Send a NOTIFICATION and end the connection; the session is over at once."""
        protocol = self._protocol
        self._sessions.failed(protocol._peer, fault, bound=protocol._is_bound)  # noqa: SLF001 - as above
        self._farewells.say(protocol._socket, fault)  # noqa: SLF001 - as above
        raise ConnectionAbortedError(fault.text)
