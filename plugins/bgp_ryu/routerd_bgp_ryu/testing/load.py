"""Clients of a route reflector that announce host routes and count those of all others, many at once.

They speak just enough BGP (RFC 4271, RFC 6793) to be cheap beside what they measure.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network

from routerd.testing.bgp import KEEPALIVE, open_message
from routerd_bgp_ryu.packing import announcements, wire, withdrawals

ORIGIN_AND_PATH = b"\x40\x01\x01\x00\x40\x02\x00"
PREFERENCE = b"\x40\x05\x04\x00\x00\x00\x64"
ALIVE = 20
"""Seconds between two KEEPALIVEs; the hold time is 90."""

_RETRY = 0.05
_HEADER = 19
_OPEN, _UPDATE, _NOTIFICATION, _KEEPALIVE = 1, 2, 3, 4


class Client(asyncio.Protocol):
    """One session. `complete` is set when it holds `wanted` prefixes, and when it has ended."""

    def __init__(self, address: IPv4Address, asn: int, announced: Sequence[IPv4Network], wanted: int) -> None:
        self.address = address
        self.established = asyncio.Event()
        self.complete = asyncio.Event()
        self.held: set[bytes] = set()
        self.updates = 0
        self.ended = ""
        self._asn = asn
        self._wanted = wanted
        attributes = ORIGIN_AND_PATH + b"\x40\x03\x04" + address.packed + PREFERENCE
        self._mine = b"".join(announcements(attributes, map(wire, announced)))
        self._buffer = bytearray()
        self._missed = b""
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(open_message(self._asn, self.address))

    def announce(self) -> None:
        """Announce everything."""
        self._transport.write(self._mine)

    def withdraw(self, prefix: bytes) -> None:
        """Withdraw a prefix that we announced."""
        self._transport.write(b"".join(withdrawals([prefix])))

    def miss(self, prefix: bytes) -> asyncio.Event:
        """Return an event that is set when we do not hold a prefix any more."""
        self._missed = prefix
        self._gone = asyncio.Event()
        return self._gone

    def keep(self) -> None:
        """Send a KEEPALIVE."""
        self._transport.write(KEEPALIVE)

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say why it ended."""
        self.ended = self.ended or f"the connection was closed ({exc})"
        self.complete.set()
        self._gone.set()

    def data_received(self, data: bytes) -> None:
        """Take each message that is whole."""
        buffer = self._buffer
        buffer += data
        at, end = 0, len(buffer)
        while end - at >= _HEADER:
            length = buffer[at + 16] << 8 | buffer[at + 17]
            if end - at < length:
                break
            self._take(buffer[at + 18], bytes(buffer[at + _HEADER : at + length]))
            at += length
        del buffer[:at]

    def _take(self, kind: int, body: bytes) -> None:
        if kind == _UPDATE:
            self._update(body)
        elif kind == _OPEN:
            self.keep()
        elif kind == _KEEPALIVE:
            self.established.set()
        elif kind == _NOTIFICATION:
            self.ended = f"NOTIFICATION {body[0]}/{body[1]}"

    def _update(self, body: bytes) -> None:
        self.updates += 1
        gone = struct.unpack_from("!H", body)[0]
        if gone:
            self.held.difference_update(_hosts(body[2 : 2 + gone]))
            if self._missed not in self.held:
                self._gone.set()
        attributes = struct.unpack_from("!H", body, 2 + gone)[0]
        self.held.update(_hosts(body[4 + gone + attributes :]))
        if len(self.held) >= self._wanted:
            self.complete.set()


def _hosts(nlri: bytes) -> list[bytes]:
    """Return the prefixes in a list of host routes."""
    return [nlri[at : at + 5] for at in range(0, len(nlri), 5)]


async def connect(
    server: IPv4Address, port: int, asn: int, clients: Sequence[tuple[IPv4Address, Sequence[IPv4Network]]]
) -> list[Client]:
    """Dial from each address until its session is up; return all sessions.

    Each wants what the others announce. `TimeoutError` is the caller's to arrange.
    """
    total = sum(len(announced) for _, announced in clients)
    return await asyncio.gather(
        *(_connect(server, port, asn, address, mine, total - len(mine)) for address, mine in clients)
    )


async def _connect(
    server: IPv4Address, port: int, asn: int, address: IPv4Address, mine: Sequence[IPv4Network], wanted: int
) -> Client:
    loop = asyncio.get_running_loop()
    fresh = partial(Client, address, asn, mine, wanted)
    while True:
        with contextlib.suppress(OSError):
            _, client = await loop.create_connection(fresh, str(server), port, local_addr=(str(address), 0))
            while not client.ended:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(client.established.wait(), _RETRY)
                    return client
        await asyncio.sleep(_RETRY)


async def exchange(clients: Sequence[Client], deadline: float) -> float:
    """Announce everything at once; return after how many seconds all held all, or the deadline came."""
    keeper = asyncio.create_task(_keep(clients))
    began = time.monotonic()
    try:
        for client in clients:
            client.announce()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await asyncio.gather(*(client.complete.wait() for client in clients))
        return time.monotonic() - began
    finally:
        keeper.cancel()


async def change(clients: Sequence[Client], prefix: IPv4Network, deadline: float) -> float:
    """Let the first client withdraw a prefix of its own; return after how many seconds nobody holds it."""
    first, *others = clients
    gone = [client.miss(wire(prefix)) for client in others]
    began = time.monotonic()
    first.withdraw(wire(prefix))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(deadline):
            await asyncio.gather(*(each.wait() for each in gone))
    return time.monotonic() - began


async def _keep(clients: Sequence[Client]) -> None:
    while True:
        await asyncio.sleep(ALIVE)
        for client in clients:
            client.keep()
