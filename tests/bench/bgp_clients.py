"""N clients that announce M host routes each to one reflector and wait until each has all others'.

A process of its own, so that what it costs is not on the reflector's account. It speaks just enough BGP
(RFC 4271, RFC 6793) and counts what comes in by prefix.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import struct
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

from routerd.testing.bgp import KEEPALIVE, open_message

ASN = 64577
FIRST_CLIENT = IPv4Address("10.1.0.1")
FIRST_PREFIX = IPv4Address("10.88.0.0")
MARKER = b"\xff" * 16
AT_ONCE = 500
"""Prefixes in one UPDATE."""

LOOK = 0.05
"""Seconds between two looks at how far it is."""


def client_address(number: int) -> IPv4Address:
    """Return where the client with a number, from 0 on, dials from."""
    return FIRST_CLIENT + number


def prefixes(number: int, count: int) -> list[IPv4Network]:
    """Return what a client announces."""
    return [IPv4Network(FIRST_PREFIX + number * count + each) for each in range(count)]


def updates(reach: list[IPv4Network], next_hop: IPv4Address) -> bytes:
    """Return UPDATEs that announce host routes, as few as fit (RFC 4271 section 4.3)."""
    preference = b"\x40\x05\x04\x00\x00\x00\x64"
    attributes = b"\x40\x01\x01\x00\x40\x02\x00\x40\x03\x04" + next_hop.packed + preference
    made = b""
    for start in range(0, len(reach), AT_ONCE):
        nlri = b"".join(b"\x20" + each.network_address.packed for each in reach[start : start + AT_ONCE])
        body = struct.pack("!HH", 0, len(attributes)) + attributes + nlri
        made += MARKER + struct.pack("!HB", 19 + len(body), 2) + body
    return made


class Client(asyncio.Protocol):
    """Opens the session, announces when told to, and counts."""

    def __init__(self, number: int, count: int, wanted: int) -> None:
        self.number = number
        self.wanted = wanted
        self.complete = asyncio.Event()
        self.established = asyncio.Event()
        self.held: set[bytes] = set()
        self.messages = 0
        self.ended = ""
        self._mine = updates(prefixes(number, count), client_address(number))
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(open_message(ASN, client_address(self.number)))

    def announce(self) -> None:
        """Announce everything."""
        self._transport.write(self._mine)

    def keep(self) -> None:
        """Send a KEEPALIVE."""
        self._transport.write(KEEPALIVE)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = self.ended or f"the connection was closed ({exc})"
        self.complete.set()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, end = 0, len(buffer)
        while end - at >= 19:
            length = buffer[at + 16] << 8 | buffer[at + 17]
            if end - at < length:
                break
            kind = buffer[at + 18]
            if kind == 2:
                self._update(bytes(buffer[at + 19 : at + length]))
            elif kind == 1:
                self._transport.write(KEEPALIVE)
            elif kind == 4:
                self.established.set()
            elif kind == 3:
                self.ended = f"NOTIFICATION {buffer[at + 19]}/{buffer[at + 20]}"
            at += length
        del buffer[:at]

    def _update(self, body: bytes) -> None:
        self.messages += 1
        gone = struct.unpack_from("!H", body)[0]
        if gone:
            self.held.difference_update(_hosts(body[2 : 2 + gone]))
        attributes = struct.unpack_from("!H", body, 2 + gone)[0]
        self.held.update(_hosts(body[4 + gone + attributes :]))
        if len(self.held) >= self.wanted:
            self.complete.set()


def _hosts(nlri: bytes) -> list[bytes]:
    """Return the prefixes in a list of host routes."""
    return [nlri[at : at + 5] for at in range(0, len(nlri), 5)]


async def run(server: str, port: int, clients: int, routes: int, deadline: float) -> dict[str, object]:
    """Return what was held after which time, of how much."""
    loop = asyncio.get_running_loop()
    wanted = (clients - 1) * routes
    fresh = [functools.partial(Client, number, routes, wanted) for number in range(clients)]
    async with asyncio.timeout(deadline):
        made = await asyncio.gather(*(_connect(server, port, each) for each in fresh))
    keeper = asyncio.create_task(_keep(made))
    try:
        sys.stdout.write("established\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.readline)
        began = time.monotonic()
        for client in made:
            client.announce()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await asyncio.gather(*(client.complete.wait() for client in made))
        took = time.monotonic() - began
    finally:
        keeper.cancel()
    return {
        "seconds": took,
        "held": sum(len(client.held) for client in made),
        "wanted": wanted * clients,
        "updates": sum(client.messages for client in made),
        "ended": sorted({client.ended for client in made if client.ended}),
    }


async def _connect(server: str, port: int, fresh: Callable[[], Client]) -> Client:
    """Dial until a session is up."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(OSError):
            client = fresh()
            here = str(client_address(client.number))
            await loop.create_connection(lambda made=client: made, server, port, local_addr=(here, 0))
            while not client.ended:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(client.established.wait(), LOOK)
                    return client
        await asyncio.sleep(LOOK)


async def _keep(clients: list[Client]) -> None:
    while True:
        await asyncio.sleep(20)
        for client in clients:
            client.keep()


def main() -> None:
    """Print `established`, wait for a line, then print the result as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("port", type=int)
    parser.add_argument("clients", type=int)
    parser.add_argument("routes", type=int)
    parser.add_argument("--deadline", type=float, default=240)
    words = parser.parse_args()
    found = asyncio.run(run(words.server, words.port, words.clients, words.routes, words.deadline))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
