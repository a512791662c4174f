"""The TCP port of enrollment: it limits connections, and can replace TLS while it serves."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from routerd.control.access import Address, address_of
from routerd.control.rate_limit import ConnectionLimit
from routerd.errors import ControlError

MAX_HEADERS = 64
SLOW_SECONDS = 10.0
"""Seconds that a client has for its TLS handshake, then for its headers, and then for its body."""

DEAF_SECONDS = 30
"""Seconds that a client may leave an answer unread."""

BACKLOG = 512
REFUSED_AT_ONCE = 64

_RESET = struct.pack("ii", 1, 0)

Gate = Callable[[Address | None], ConnectionLimit]
"""Returns the limit for the connections of a source."""


class Listener(web.AppRunner):
    """Serves an application on one port; `cleanup` ends it.

    A connection over the limit of its source is reset before anything of it is read.
    """

    def __init__(self, app: web.Application, gate: Gate, *, slow: float = SLOW_SECONDS) -> None:
        super().__init__(
            app,
            access_log=None,
            handle_signals=False,
            # aiohttp starts this timer with the connection: it also ends those that never finish a header.
            keepalive_timeout=slow,
            lingering_time=1.0,
            max_headers=MAX_HEADERS,
            # A small body may unpack to a large one, so none is unpacked.
            auto_decompress=False,
            shutdown_timeout=5.0,
        )
        self._gate = gate
        self._slow = slow
        self._socket: socket.socket | None = None

    async def open(self, address: Address, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen; `ControlError` when the port is not available."""
        await self.setup()
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self._socket = _Listening(family, self._gate)
        try:
            self._socket.bind((str(address), port))
            await self.use(tls)
        except OSError as error:
            await self.cleanup()
            raise ControlError(
                f"enrollment listener {address}:{port}: {error.strerror}; "
                "see listenAddress and port of the ControlAPI"
            ) from error

    async def use(self, tls: ssl.SSLContext | None) -> None:
        """Serve new connections with `tls`; present connections stay as they are."""
        if self._socket is None:
            raise ControlError("enrollment listener: not open")
        before = self.sites
        await _Site(self, self._socket.dup(), tls, slow=self._slow).start()
        for site in before:
            await site.stop()

    async def cleanup(self) -> None:
        """Stop listening, and end present connections."""
        await super().cleanup()
        if self._socket is not None:
            self._socket.close()


class _Site(web.BaseSite):
    def __init__(
        self, runner: Listener, listening: socket.socket, tls: ssl.SSLContext | None, *, slow: float
    ) -> None:
        super().__init__(runner, ssl_context=tls, backlog=BACKLOG)
        self._listening = listening
        self._slow = slow

    @property
    def name(self) -> str:
        return str(self._listening.getsockname())

    async def start(self) -> None:
        await super().start()
        if self._runner.server is None:
            raise ControlError("enrollment listener: closed")
        self._server = await asyncio.get_running_loop().create_server(
            self._runner.server,
            sock=self._listening,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=self._slow if self._ssl_context is not None else None,
        )


class _Listening(socket.socket):
    """A listening socket through which asyncio gets only connections within the limit."""

    def __init__(self, family: int, gate: Gate, *, fileno: int | None = None) -> None:
        super().__init__(family, socket.SOCK_STREAM, fileno=fileno)
        self._gate = gate
        if fileno is None:
            self.setblocking(False)
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted sockets inherit it; without it a client that never reads would keep its connection.
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAF_SECONDS * 1000)
            if family == socket.AF_INET6:
                self.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)

    def dup(self) -> "_Listening":
        copy = _Listening(self.family, self._gate, fileno=socket.dup(self.fileno()))
        copy.setblocking(False)
        return copy

    def accept(self) -> tuple[socket.socket, Any]:
        for _ in range(REFUSED_AT_ONCE):
            connection, peer = super().accept()
            source = address_of(peer[0])
            limit = self._gate(source)
            if source is not None and limit.enter(source):
                return _Counted(connection, partial(limit.leave, source)), peer
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.close()
        # asyncio returns for the rest after it has served others.
        raise BlockingIOError


class _Counted(socket.socket):
    """A connection that says when it is closed."""

    def __init__(self, connection: socket.socket, closed: Callable[[], None]) -> None:
        family, kind, protocol = connection.family, connection.type, connection.proto
        super().__init__(family, kind, protocol, fileno=connection.detach())
        self._when_closed: Callable[[], None] | None = closed

    def close(self) -> None:
        closed, self._when_closed = self._when_closed, None
        super().close()
        if closed is not None:
            closed()

    def __del__(self) -> None:
        # Also when asyncio drops the socket without closing it: the count would never go down.
        if self._when_closed is not None:
            self.close()
