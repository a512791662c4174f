"""A BGP speaker that says whatever a test wants, over TCP; it knows no routes and checks nothing.

For tests of a real speaker, which must refuse what this one says.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from ipaddress import IPv4Address, IPv4Network

import attrs

MARKER = b"\xff" * 16
KEEPALIVE = MARKER + b"\x00\x13\x04"
HOLD_TIME = 90
AS_TRANS = 23456
PAUSE = 0.1
"""Seconds between a connection that has ended and the next."""

_OPEN, _NOTIFICATION, _KEEPALIVE = 1, 3, 4


def open_message(asn: int, router_id: IPv4Address) -> bytes:
    """Return an OPEN with four-byte AS numbers (RFC 6793) and IPv4 unicast (RFC 4760).

    Added in 1.0.
    """
    capabilities = b"\x01\x04\x00\x01\x00\x01" + b"\x41\x04" + struct.pack("!I", asn)
    parameters = bytes([2, len(capabilities)]) + capabilities
    short = asn if asn < 1 << 16 else AS_TRANS
    body = struct.pack("!BHH", 4, short, HOLD_TIME) + router_id.packed + bytes([len(parameters)])
    return _message(_OPEN, body + parameters)


def update_message(prefix: IPv4Network, next_hop: IPv4Address) -> bytes:
    """Return an UPDATE that announces one prefix with an empty path, as inside one AS.

    Added in 1.0.
    """
    origin, path, preference = b"\x40\x01\x01\x00", b"\x40\x02\x00", b"\x40\x05\x04\x00\x00\x00\x64"
    attributes = origin + path + b"\x40\x03\x04" + next_hop.packed + preference
    length = (prefix.prefixlen + 7) // 8
    reach = bytes([prefix.prefixlen]) + prefix.network_address.packed[:length]
    return _message(2, b"\x00\x00" + struct.pack("!H", len(attributes)) + attributes + reach)


def _message(kind: int, body: bytes) -> bytes:
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


@attrs.define(eq=False)
class ScriptedSpeaker:
    """Dials from an address, or answers on it, and sends everything at once, unasked.

    Its OPEN, a KEEPALIVE and an UPDATE with `prefix` go out before anything is read, so that a
    speaker that looks at routes before it knows whose they are is caught. `says` are the bytes to
    send instead. `heard` collects the codes of the NOTIFICATIONs that came, `opened` counts the
    OPENs, `confirmed` the KEEPALIVEs.

    Added in 1.0.
    """

    address: IPv4Address
    asn: int
    router_id: IPv4Address
    prefix: IPv4Network
    says: bytes | None = None
    heard: list[tuple[int, int]] = attrs.field(factory=list)
    opened: int = 0
    confirmed: int = 0
    _task: asyncio.Task[None] | None = None
    _connections: set[asyncio.Task[None]] = attrs.field(factory=set)
    _server: asyncio.Server | None = None

    def dial(self, peer: IPv4Address, port: int) -> None:
        """Dial, and again whenever the connection has ended, until closed."""
        self._task = asyncio.create_task(self._dial(peer, port))

    async def answer(self, port: int) -> None:
        """Answer whoever dials, until closed."""
        self._server = await asyncio.start_server(self._accept, str(self.address), port)

    async def aclose(self) -> None:
        """End every connection and make no other one."""
        if self._server is not None:
            self._server.close()
        tasks = [*self._connections, *([self._task] if self._task is not None else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _dial(self, peer: IPv4Address, port: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    str(peer), port, local_addr=(str(self.address), 0)
                )
                await self._talk(reader, writer)
            await asyncio.sleep(PAUSE)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._talk(reader, writer)
        finally:
            self._connections.discard(task)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self.says if self.says is not None else self._everything())
            while True:
                header = await reader.readexactly(19)
                length, kind = struct.unpack("!HB", header[16:])
                body = await reader.readexactly(length - 19)
                if kind == _NOTIFICATION:
                    self.heard.append((body[0], body[1]))
                elif kind == _OPEN:
                    self.opened += 1
                elif kind == _KEEPALIVE:
                    self.confirmed += 1
                    writer.write(KEEPALIVE)
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _everything(self) -> bytes:
        # The path is empty, as inside one AS: with our own number in it, it would be a loop.
        update = update_message(self.prefix, self.address)
        return open_message(self.asn, self.router_id) + KEEPALIVE + update
