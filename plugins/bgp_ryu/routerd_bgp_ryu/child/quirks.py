"""Mends of os-ken for the whole process. Each says what goes wrong without it.

The mends of its classes for neighbours and routes are in `neighbour` and `outgoing`, those of a connection
in `gate`.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from functools import partialmethod

import eventlet
from os_ken.lib import sockopt
from os_ken.services.protocols.bgp import core, speaker, utils

from routerd_bgp_ryu.child.osken import Library, packet
from routerd_bgp_ryu.child.timers import Timer
from routerd_bgp_ryu.notification import REJECTED
from routerd_bgp_ryu.screen import NOTIFICATION
from routerd_bgp_ryu.screen.verdict import framed

_LOG = logging.getLogger("routerd.bgp")
_BREATHER = 0.2
"""Seconds until the next accept after a failed one; usually the process is out of descriptors."""

_GOODBYE = 2.0
"""Seconds for a neighbour to read a NOTIFICATION."""

_READ = 4096
"""Octets that `farewell` reads at a time, and returns at most."""

_LONGEST_DATA = 4096 - 21
"""Octets of data that a NOTIFICATION has room for."""


def mend(stranger: Callable[[str, bytes], None]) -> None:
    """Mend the library before it makes a speaker; `stranger` is called as by `accept_forever`."""
    core.CoreService._listen_socket_loop = partialmethod(accept_forever, stranger=stranger)  # noqa: SLF001 - there is no public way to it
    # TCP MD5 (RFC 2385): the library hands the password to `struct` as text, which raises.
    plain = sockopt.set_tcp_md5sig
    sockopt.set_tcp_md5sig = lambda connection, address, key: plain(connection, address, key.encode())
    utils.LoopingCall = Timer
    # RFC 4271 section 4.5 defines no subcode 1 for an expired hold timer.
    speaker.BGP_ERROR_SUB_HOLD_TIMER_EXPIRED = 0
    mend_parser()


def mend_parser() -> None:
    """Make the library's parser read what the screen lets through, without guesses and exceptions."""
    # The screen writes AS numbers in four octets. The library guesses, and takes some such paths for
    # shorter ones.
    packet.BGPPathAttributeAsPath._is_valid_16bit_as_path = classmethod(lambda *_: False)  # noqa: SLF001 - there is no public way to it
    # The library keeps the length of the last AGGREGATOR for all neighbours.
    aggregator = packet.BGPPathAttributeAggregator
    aggregator._VALUE_PACK_STR = aggregator._FOUR_OCTET_VALUE_PACK_STR  # noqa: SLF001 - as above
    # The library raises at most PMSI tunnels, which IPv4 unicast does not use. An unknown attribute passes.
    attribute, unread = packet._PathAttribute, packet.BGPPathAttributePmsiTunnel  # noqa: SLF001 - as above
    attribute._TYPES = {kind: each for kind, each in attribute._TYPES.items() if each is not unread}  # noqa: SLF001 - as above


def accept_forever(
    service: Library,
    listener: socket.socket,
    handle: Callable[[socket.socket], None],
    stranger: Callable[[str, bytes], None],
) -> None:
    """Accept connections; replaces the library's loop as a method of its core.

    The library's loop ends at the first connection that is reset between SYN and accept, because getpeername
    fails then. After one port scan no neighbour could connect. This loop refuses an address that is not
    a configured neighbour's; `stranger` gets the address and the octets that came from it.
    """
    while True:
        try:
            connection, (address, *_) = listener.accept()
        except OSError as error:
            _LOG.warning("accept: %s", error)
            eventlet.sleep(_BREATHER)
            continue
        if service.peer_manager.get_by_addr(address) is None:
            eventlet.spawn(_refuse, connection, address, stranger)
        else:
            eventlet.spawn(_guarded, service, connection, address, handle)


def _refuse(connection: socket.socket, address: str, stranger: Callable[[str, bytes], None]) -> None:
    stranger(address, farewell(connection, REJECTED))


def farewell(connection: socket.socket, code: tuple[int, int], data: bytes = b"") -> bytes:
    """Send a NOTIFICATION, let the neighbour read it, and close; return the first octets that came.

    The library closes at once. If octets of the neighbour are unread then, a reset overtakes the
    NOTIFICATION, and the neighbour never learns the reason.
    """
    first = b""
    try:
        with eventlet.Timeout(_GOODBYE, exception=False):
            connection.sendall(framed(NOTIFICATION, bytes(code) + data[:_LONGEST_DATA]))
            connection.shutdown(socket.SHUT_WR)
            while received := connection.recv(_READ):
                first = (first + received)[:_READ]
    except OSError as error:
        _LOG.debug("refusal: %s", error)
    finally:
        connection.close()
    return first


def _guarded(
    service: Library, connection: socket.socket, address: str, handle: Callable[[socket.socket], None]
) -> None:
    try:
        service._asso_socket_map[f"{service.name}_client@{address}"] = connection  # noqa: SLF001 - there is no public way to it
        handle(connection)
    except OSError as error:
        _LOG.info("connection from %s: %s", address, error)
        connection.close()


class Handshakes:
    """Ends connections whose neighbour acknowledges octets but never answers our OPEN.

    The library starts its hold timer with the neighbour's OPEN. Without this class such a connection would
    stay open, and the library would not dial an active neighbour again (RFC 4271 section 8 asks for a large
    hold timer in OpenSent). The kernel ends connections that the other end does not acknowledge: a blocked
    send holds the lock that the library needs when the hold timer expires.

    `deadline` returns the seconds that an address has until its OPEN must be there.
    """

    def __init__(self, service: Library, port: int, deadline: Callable[[str], float]) -> None:
        self._pending: dict[Library, tuple[float, socket.socket]] = {}
        self._service = service
        self._port = port
        self._deadline = deadline

    def build(self, connection: socket.socket) -> Library:
        """Return the protocol of a new connection; replaces the core's method.

        The library takes a connection to port 179 for its own and any other for the neighbour's. It would
        refuse its own connection to another port.
        """
        address, port = connection.getpeername()[:2]
        timeout = self._deadline(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1000))
        bus, reactive = self._service._signal_bus, port != self._port  # noqa: SLF001 - there is no public way to it
        made = self._service.protocol(connection, bus, is_reactive_conn=reactive)
        self._pending[made] = (time.monotonic() + timeout, connection)
        return made

    def check(self) -> None:
        """End the connections that are past their deadline; the server calls it four times a second."""
        now = time.monotonic()
        for protocol, (deadline, connection) in list(self._pending.items()):
            over = protocol.recv_open_msg is not None or connection.fileno() < 0
            if over or now > deadline:
                del self._pending[protocol]
            if not over and now > deadline:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def end_with(protocol: Library, code: tuple[int, int]) -> None:
    """Make a connection end with this NOTIFICATION; the library sends 6/2 for every reason.

    The neighbour acts on the difference: after a change of settings (6/6) it keeps our routes as stale.
    """
    send = protocol.send_notification
    protocol.send_notification = lambda *_: send(*code)
