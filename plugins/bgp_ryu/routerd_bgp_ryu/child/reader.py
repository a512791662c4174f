"""Reads what arrives on a connection: the screen judges it, and the library handles what is left.

At what is malformed the library ends the session, or leaves it by halves when it raises
another error than its own, and it goes on reading after the end. Whatever it raises here, the session is
whole or over afterwards, and no other one notices.
"""

from __future__ import annotations

import logging
import socket
from typing import NoReturn, Protocol

import eventlet

from routerd_bgp_ryu.child.quirks import Library, farewell
from routerd_bgp_ryu.identity import Identity
from routerd_bgp_ryu.packing import END_OF_RIB
from routerd_bgp_ryu.screen import (
    OPEN,
    ROUTE_REFRESH,
    UPDATE,
    Fault,
    Framer,
    Screen,
    Terms,
    Verdict,
    withdrawal,
)

_LOG = logging.getLogger("routerd.bgp")
_NOT_CONFIRMED = (5, 2)
"""Finite State Machine Error: unexpected message in OpenConfirm (RFC 6608 section 4)."""

_ESTABLISHED = "Established"
_CHUNK = 64 << 10
_SHOWN = 500
"""Octets of a message that nobody had foreseen that go into the log, once for a connection."""


class Speakers(Protocol):
    """Knows who may speak at the other end of a connection; `peer` is the library's."""

    def judge(self, peer: Library, opened: Identity) -> tuple[int, int] | None:
        """Return the code and subcode to refuse an OPEN with, or none."""

    def terms(self, protocol: Library) -> Terms:
        """Return what the two sides of a connection are, before AS numbers were agreed on."""

    def failed(self, peer: Library, fault: Fault, *, bound: bool) -> None:
        """Take note that a connection ends, which is the session itself when it is `bound`."""


class Watch(Protocol):
    """Takes note of what a session's UPDATEs were."""

    def screened(self, peer: Library, verdict: Verdict) -> None:
        """Take note of what became of an UPDATE."""

    def complete(self, peer: Library) -> None:
        """Take note that a neighbour has announced all that it has (RFC 4724 section 2)."""


class Farewells:
    """The last words on connections that are over, while the neighbour reads them.

    Each takes a descriptor for up to two seconds, so that only so many are said at once; beyond
    them a connection is closed in silence, or a neighbour that comes again and again takes them all.
    """

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._under_way = 0

    def say(self, connection: socket.socket, fault: Fault) -> None:
        """Send a NOTIFICATION on a connection and close it, in a while."""
        if self._under_way < self._most:
            self._under_way += 1
            eventlet.spawn(self._say, connection.dup(), fault)
        connection.close()

    def _say(self, connection: socket.socket, fault: Fault) -> None:
        try:
            farewell(connection, fault.code, fault.data)
        finally:
            self._under_way -= 1


class Reader:
    """Takes what arrives on one connection, in the place of the library's `_recv_loop`.

    The library's reads 19 octets at a time, and copies what it has of a message as often.
    """

    def __init__(
        self, protocol: Library, packet: Library, speakers: Speakers, watch: Watch, farewells: Farewells
    ) -> None:
        self._protocol = protocol
        self._speakers = speakers
        self._farewells = farewells
        self._packet = packet
        self._watch = watch
        self._framer = Framer()
        self._screen: Screen | None = None
        self._puzzled = False

    def run(self) -> None:
        """Read until the connection has ended, and tell the library why."""
        connection: socket.socket = self._protocol._socket  # noqa: SLF001 - there is no public way to it
        reason = "the speaker has ended it"
        try:
            while received := connection.recv(_CHUNK):
                self(received)
            reason = "Peer closed connection"
        except OSError as error:
            reason = f"Connection to peer lost: {error}."
        except Exception as error:  # noqa: BLE001 - a thread that dies of it would leave the session half alive
            reason = f"{type(error).__name__}: {error}"
            _LOG.exception("%s: the reader failed", self._protocol._remotename[0])  # noqa: SLF001 - as above
        finally:
            self._protocol.connection_lost(reason)
            connection.close()

    def __call__(self, received: bytes) -> None:
        """Handle each message that is whole now; raises OSError when the connection has ended."""
        for message in self._framer.feed(received):
            if not self._open():
                # A NOTIFICATION has come: what follows it is nobody's any more.
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
            self._watch.screened(peer, verdict)
            if not verdict.messages and protocol._expiry is not None:  # noqa: SLF001 - as above
                protocol._expiry.reset()  # noqa: SLF001 - as above; the neighbour lives (RFC 4271 section 6.5)
        for each in verdict.messages:
            self._pass_on(each)
        if message == END_OF_RIB and routing:
            self._watch.complete(peer)

    def _judged(self, message: bytes) -> Verdict:
        if self._screen is None:
            self._screen = Screen(self._speakers.terms(self._protocol))
        elif message[18] == UPDATE and self._screen.terms.wide != self._protocol.cap_four_octet_as_number:
            # Only the OPEN says so, and it comes first.
            self._screen = self._screen.narrow()
        return self._screen.judge(message)

    def _pass_on(self, message: bytes) -> None:
        """Hand a message to the library; whatever it raises, the session is whole or over after it."""
        try:
            self._handle(message)
        except OSError:
            raise  # the connection is over
        except self._packet.BgpExc as error:
            self._end(Fault(code=(error.CODE, error.SUB_CODE), text=str(error)))
        except Exception as error:  # noqa: BLE001 - the library's parser and handlers raise all kinds
            self._unforeseen(message, error)

    def _handle(self, message: bytes) -> None:
        parsed, _, _ = self._packet.BGPMessage.parser(message)
        self._protocol._handle_msg(parsed)  # noqa: SLF001 - as above

    def _unforeseen(self, message: bytes, error: Exception) -> None:
        """Withdraw what an UPDATE names that the library cannot handle, or else end the session."""
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
                self._watch.screened(self._protocol._peer, instead)  # noqa: SLF001 - as above
                return
        code = (2, 0) if message[18] == OPEN else (3, 0) if message[18] == UPDATE else (6, 0)
        self._end(Fault(code=code, text=what))

    def _end(self, fault: Fault) -> NoReturn:
        """Send a NOTIFICATION and end the connection.

        A second descriptor stays until the neighbour has read it; the session is over at once.
        """
        protocol = self._protocol
        self._speakers.failed(protocol._peer, fault, bound=protocol._is_bound)  # noqa: SLF001 - as above
        self._farewells.say(protocol._socket, fault)  # noqa: SLF001 - as above
        raise ConnectionAbortedError(fault.text)


def mend_parser(packet: Library) -> None:
    """Make the library read AS numbers as what they are here: four octets, always.

    It guesses, takes some paths of four octets for others of two, and remembers the length of the
    last AGGREGATOR for all neighbours. A PMSI tunnel, which is nothing of IPv4 unicast, it reads
    as far as it can, and then raises; unknown, it is passed on as it is (RFC 4271 section 5).
    """
    packet.BGPPathAttributeAsPath._is_valid_16bit_as_path = classmethod(lambda *_: False)  # noqa: SLF001 - there is no public way to it
    aggregator = packet.BGPPathAttributeAggregator
    aggregator._VALUE_PACK_STR = aggregator._FOUR_OCTET_VALUE_PACK_STR  # noqa: SLF001 - as above
    attribute = packet._PathAttribute  # noqa: SLF001 - as above
    attribute._TYPES = {  # noqa: SLF001 - as above
        kind: each
        for kind, each in attribute._TYPES.items()  # noqa: SLF001 - as above
        if each is not packet.BGPPathAttributePmsiTunnel
    }
