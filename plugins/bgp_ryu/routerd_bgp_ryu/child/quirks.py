"""Mends of the library, found by reading it and by tests; each says what goes wrong without it."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import eventlet

from routerd_bgp_ryu.notification import REJECTED

Library = Any  # Any: the libraries ship no types

_LOG = logging.getLogger("routerd.bgp")
_BREATHER = 0.2
_GOODBYE = 2.0
_READ = 4096
_LONGEST_DATA = 4096 - 21


def accept_forever(
    core: Library,
    listener: socket.socket,
    handle: Callable[[socket.socket], None],
    stranger: Callable[[str, bytes], None],
) -> None:
    """Accept connections; replaces the library's loop as a method of its core.

    The library's ends at the first connection that is reset between SYN and accept (getpeername
    then fails), and nobody can connect any more: one port scan is enough. An address
    that is not a configured neighbour is refused; `stranger` gets the address and what it sent.
    """
    while True:
        try:
            connection, (address, *_) = listener.accept()
        except OSError as error:
            _LOG.warning("accept: %s", error)
            eventlet.sleep(_BREATHER)  # out of descriptors, usually
            continue
        if core.peer_manager.get_by_addr(address) is None:
            eventlet.spawn(_refuse, connection, address, stranger)
        else:
            eventlet.spawn(_guarded, core, connection, address, handle)


def _refuse(connection: socket.socket, address: str, stranger: Callable[[str, bytes], None]) -> None:
    stranger(address, farewell(connection, REJECTED))


def farewell(connection: socket.socket, code: tuple[int, int], data: bytes = b"") -> bytes:
    """Send a NOTIFICATION, let the neighbour read it, and close; return what came at first.

    The library closes at once, with something of the neighbour's unread, so that a reset overtakes
    the NOTIFICATION and the neighbour never learns why.
    """
    first = b""
    try:
        with eventlet.Timeout(_GOODBYE, exception=False):
            body = bytes(code) + data[:_LONGEST_DATA]
            connection.sendall(b"\xff" * 16 + (19 + len(body)).to_bytes(2) + b"\x03" + body)
            connection.shutdown(socket.SHUT_WR)
            while received := connection.recv(_READ):
                first = (first + received)[:_READ]
    except OSError as error:
        _LOG.debug("refusal: %s", error)
    finally:
        connection.close()
    return first


def _guarded(
    core: Library, connection: socket.socket, address: str, handle: Callable[[socket.socket], None]
) -> None:
    try:
        core._asso_socket_map[f"{core.name}_client@{address}"] = connection  # noqa: SLF001 - the library's own
        handle(connection)
    except OSError as error:
        _LOG.info("connection from %s: %s", address, error)
        connection.close()


class Dialer:
    """Dials as the session asks: from its source address, without more waiting than its timers.

    It stands in for the peer's own method, which binds only when a port is named too, and forgets
    why a connection failed.
    """

    def __init__(self, peer: Library, source: str | None, failed: Callable[[str], None]) -> None:
        self._dial = peer._connect_tcp  # noqa: SLF001 - there is no public way to it
        self._source = source
        self._failed = failed

    def __call__(
        self,
        address: tuple[str, int],
        handle: Callable[[socket.socket], None],
        *,
        time_out: float | None = None,
        bind_address: tuple[str, int] | None = None,
        password: str | None = None,
    ) -> socket.socket:
        """Connect, and say in words why it failed; the library tries again."""
        bound = (self._source, 0) if self._source else bind_address
        try:
            dialed: socket.socket = self._dial(
                address, handle, time_out=time_out, bind_address=bound, password=password
            )
        except OSError as error:
            self._failed(
                f"cannot connect: {os.strerror(error.errno).lower() if error.errno else 'timed out'}"
            )
            raise
        return dialed


class Handshakes:
    """Ends connections whose neighbour acknowledges bytes but never answers our OPEN.

    The library starts its hold timer with the neighbour's OPEN, so that such a connection would
    never end, and an active neighbour would never be dialed again (RFC 4271 section 8 asks for
    a large hold timer in OpenSent). Also lets the kernel end connections that nobody acknowledges:
    a blocked send holds the lock that the library's expired hold timer wants.
    """

    def __init__(self, core: Library, port: int, deadline: Callable[[str], float]) -> None:
        self._pending: dict[Library, tuple[float, socket.socket]] = {}
        self._core = core
        self._port = port
        self._deadline = deadline

    def build(self, connection: socket.socket) -> Library:
        """Return the protocol of a new connection; replaces the core's method.

        The library takes connections to port 179 for its own and all others for the neighbour's,
        so that dialing any other port would be refused by ourselves.
        """
        address, port = connection.getpeername()[:2]
        timeout = self._deadline(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1000))
        made = self._core.protocol(
            connection,
            self._core._signal_bus,  # noqa: SLF001 - there is no public way to it
            is_reactive_conn=port != self._port,
        )
        self._pending[made] = (time.monotonic() + timeout, connection)
        return made

    def check(self) -> None:
        """End what has taken too long; to be called now and then."""
        now = time.monotonic()
        for protocol, (deadline, connection) in list(self._pending.items()):
            if protocol.recv_open_msg is not None or connection.fileno() < 0:
                del self._pending[protocol]
            elif now > deadline:
                del self._pending[protocol]
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError as error:
                    _LOG.debug("shutdown: %s", error)


def mend_passwords(sockopt: Library) -> None:
    """Make the library's TCP MD5 (RFC 2385) take text, which it hands to `struct` as it is."""
    plain = sockopt.set_tcp_md5sig

    def encoded(connection: socket.socket, address: str, key: str | bytes) -> None:
        plain(connection, address, key.encode() if isinstance(key, str) else key)

    sockopt.set_tcp_md5sig = encoded


def mend_hold_timer(speaker: Library) -> None:
    """Make the library send 4/0 when nothing was heard: RFC 4271 section 4.5 has no subcode 1 there."""
    speaker.BGP_ERROR_SUB_HOLD_TIMER_EXPIRED = 0


def mend_confirmation(speaker: Library, opening: int) -> None:
    """Make the library confirm an OPEN whose hold time is zero.

    It starts no timers then, which is right, but sends no KEEPALIVE either, and the neighbour waits
    in OpenConfirm without end (RFC 4271 section 8.2.2). `opening` is the type of an OPEN.
    """
    handle = speaker.BgpProtocol._handle_msg  # noqa: SLF001 - there is no public way to it

    def confirmed(protocol: Library, message: Library) -> None:
        handle(protocol, message)
        if message.type == opening and message.hold_time == 0 and protocol._is_bound:  # noqa: SLF001 - as above
            protocol._send_keepalive()  # noqa: SLF001 - as above

    speaker.BgpProtocol._handle_msg = confirmed  # noqa: SLF001 - as above


def mend_bursts(base: Library) -> None:
    """Make the newest word of a neighbour count, also when the earlier ones are not processed yet.

    The library looks at withdrawals first and at new paths after them, so that what is announced and
    withdrawn before it has looked never leaves, nor does what is announced and lost with its session.
    """
    kind = base.Destination
    add, withdraw, remove = kind.add_new_path, kind.add_withdraw, kind.remove_old_paths_from_source

    def forget(destination: Library, source: Library) -> list[Library]:
        waiting = destination._new_path_list  # noqa: SLF001 - there is no public way to it
        gone = [path for path in waiting if path.source is source]
        if gone:
            waiting[:] = [path for path in waiting if path.source is not source]
        return gone

    def add_new_path(destination: Library, path: Library) -> None:
        forget(destination, path.source)
        add(destination, path)

    def add_withdraw(destination: Library, path: Library) -> None:
        forget(destination, path.source)
        withdraw(destination, path)

    def remove_old_paths_from_source(destination: Library, source: Library) -> list[Library]:
        removed: list[Library] = remove(destination, source)
        return removed + forget(destination, source)

    kind.add_new_path = add_new_path
    kind.add_withdraw = add_withdraw
    kind.remove_old_paths_from_source = remove_old_paths_from_source


def mend_loops(peers: Library) -> None:
    """Take the library's search for loops away: the screen has looked already, and better.

    It takes the neighbour's router ID for ours, so that what a reflector announces in its own name,
    or a client under its own ORIGINATOR_ID, counts as a loop; and it ignores the whole UPDATE, with
    the withdrawals in it, so that what an UPDATE replaces stays.
    """
    peers.Peer._is_looped_path_attrs = lambda *_: False  # noqa: SLF001 - there is no public way to it


def mend_replacements(peers: Library) -> None:
    """Make a path that is refused take away the one that it replaces.

    The library only keeps the new one out of its table. What was accepted of the prefix before would
    stay there, and be reflected, without anybody announcing it any more (RFC 4271 section 3.1).
    """
    judge = peers.Peer._apply_in_filter  # noqa: SLF001 - there is no public way to it

    def judged(peer: Library, path: Library) -> Library:
        before = peer.adj_rib_in.get(path.nlri.formatted_nlri_str)
        verdict = judge(peer, path)
        blocked = verdict[0]
        # Of a path that is only judged again, the library sees to the withdrawal itself.
        replaces = before is not None and before.path is not path and not before.filtered
        if blocked and replaces and not path.is_withdraw:
            gone = before.path.clone(for_withdrawal=True)
            peer._core_service.table_manager.learn_path(gone)  # noqa: SLF001 - as above
        return verdict

    peers.Peer._apply_in_filter = judged  # noqa: SLF001 - as above


def end_with(protocol: Library, code: tuple[int, int]) -> None:
    """Let a connection end with this NOTIFICATION; the library says administrative shutdown for any reason.

    It makes a difference to the neighbour: after a change of settings (6/6) it keeps our routes as stale.
    """
    send = protocol.send_notification
    protocol.send_notification = lambda *_: send(*code)
