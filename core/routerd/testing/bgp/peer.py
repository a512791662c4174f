"""One BGP connection that a test holds a conversation on: it says, expects, and looks at what came.

Nothing is answered by itself except, once the OPENs are exchanged, a KEEPALIVE now and then; and
that a test can turn off.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

import attrs

from routerd.testing.bgp.attributes import PathView
from routerd.testing.bgp.md5 import sign
from routerd.testing.bgp.wire import HEADER, Keepalive, Message, Notification, Open, Update, decode, encode

DEADLINE = 20.0
"""Seconds within which what is expected must have come."""

RETRY = 0.05
"""Seconds between two attempts to connect while nobody listens yet."""

M = TypeVar("M", Open, Update, Notification, Keepalive)


@attrs.frozen
class Heard:
    """A message that came, and when, in seconds of the monotonic clock.

    Added in 1.0.
    """

    at: float
    message: Message


class Conversation:
    """One connection. `heard` is all that came; `routes` is what it adds up to, by prefix.

    `malformed` says what could not be read; the conversation ends with it.

    Added in 1.0.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard: list[Heard] = []
        self.routes: dict[IPv4Network, PathView] = {}
        self.ended = False
        self.malformed = ""
        self._reader = reader
        self._writer = writer
        self._seen = 0
        self._changed = asyncio.Condition()
        self._tasks = [asyncio.create_task(self._listen())]

    @property
    def remote(self) -> IPv4Address:
        """Return the other side's address."""
        return IPv4Address(self._writer.get_extra_info("peername")[0])

    async def send(self, *messages: Message | bytes) -> None:
        """Send messages, or bytes as they are, in one piece."""
        self._writer.write(b"".join(each if isinstance(each, bytes) else encode(each) for each in messages))
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def stop_reading(self) -> None:
        """Read no more, as a speaker that hangs; what it says is still sent."""
        self._tasks[0].cancel()
        await asyncio.gather(self._tasks[0], return_exceptions=True)

    async def expect(
        self, kind: type[M], where: Callable[[M], object] = lambda _: True, deadline: float = DEADLINE
    ) -> M:
        """Return the next message of a kind of which something holds; what came before it is passed over."""
        what = f"{kind.__name__} that was expected"
        found: list[M] = []

        def came() -> bool:
            while self._seen < len(self.heard):
                message = self.heard[self._seen].message
                self._seen += 1
                if isinstance(message, kind) and where(message):
                    found.append(message)
                    return True
            return False

        await self.until(came, what, deadline)
        return found[0]

    async def until(
        self, holds: Callable[[], object], what: str = "what was expected", deadline: float = DEADLINE
    ) -> None:
        """Wait until something holds of what has come."""
        try:
            async with asyncio.timeout(deadline), self._changed:
                while not holds():
                    assert not self.ended, f"the connection ended before the {what}; {self._told()}"
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {what} within {deadline:g} s; {self._told()}") from None

    async def until_route(
        self, prefix: IPv4Network, what: str = "route", *, next_hop: IPv4Address | None = None
    ) -> None:
        """Wait until a prefix is among what was announced, with a next hop if one is named."""
        await self.until(
            lambda: prefix in self.routes and next_hop in (None, self.routes[prefix].next_hop), what
        )

    async def until_prefixes(self, expected: Collection[IPv4Network], what: str = "these prefixes") -> None:
        """Wait until what was announced, and not withdrawn, is exactly these prefixes."""
        await self.until(lambda: self.routes.keys() == set(expected), what)

    async def until_ended(self, deadline: float = DEADLINE) -> Notification | None:
        """Wait until the other side has ended the connection; return the NOTIFICATION that said why."""
        try:
            async with asyncio.timeout(deadline), self._changed:
                await self._changed.wait_for(lambda: self.ended)
        except TimeoutError:
            raise AssertionError(f"not ended within {deadline:g} s; {self._told()}") from None
        return next(iter(self.all(Notification)), None)

    def all(self, kind: type[M]) -> list[M]:
        """Return everything of a kind that came."""
        return [each.message for each in self.heard if isinstance(each.message, kind)]

    def times(self, kind: type[Message]) -> list[float]:
        """Return when messages of a kind came."""
        return [each.at for each in self.heard if isinstance(each.message, kind)]

    def mentions(self, prefix: IPv4Network) -> int:
        """Return how many UPDATEs have announced or withdrawn a prefix."""
        return sum(prefix in (*each.reach, *each.withdrawn) for each in self.all(Update))

    async def open(self, message: Open, keepalive: float | None = 1.0) -> Open:
        """Exchange OPEN and KEEPALIVE; return the other side's OPEN.

        After that a KEEPALIVE goes out every `keepalive` seconds, none when it is none.
        """
        await self.send(message)
        opened = await self.expect(Open)
        await self.send(Keepalive())
        await self.expect(Keepalive)
        if keepalive is not None:
            self._tasks.append(asyncio.create_task(self._keep_alive(keepalive)))
        return opened

    async def aclose(self) -> None:
        """End the connection, as a speaker that dies."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _keep_alive(self, interval: float) -> None:
        while not self.ended:
            await asyncio.sleep(interval)
            await self.send(Keepalive())

    async def _listen(self) -> None:
        try:
            while True:
                header = await self._reader.readexactly(HEADER)
                length, kind = struct.unpack("!HB", header[16:])
                body = await self._reader.readexactly(length - HEADER)
                async with self._changed:
                    self._take(decode(kind, body))
                    self._changed.notify_all()
        except (asyncio.IncompleteReadError, OSError):
            pass
        except (ValueError, IndexError, struct.error) as error:
            self.malformed = str(error)
        async with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _take(self, message: Message) -> None:
        self.heard.append(Heard(time.monotonic(), message))
        if isinstance(message, Update):
            for prefix in message.withdrawn:
                self.routes.pop(prefix, None)
            self.routes.update(dict.fromkeys(message.reach, message.path))

    def _told(self) -> str:
        words = [
            type(each.message).__name__ for each in self.heard if not isinstance(each.message, Keepalive)
        ]
        errors = [each.error for each in self.all(Notification)]
        told = [f"came: {', '.join(words[-12:]) or 'nothing'}"]
        told += [f"errors {errors}"] if errors else []
        return "; ".join([*told, f"malformed: {self.malformed}"] if self.malformed else told)


async def dial(
    source: IPv4Address,
    address: IPv4Address,
    port: int,
    *,
    password: str | None = None,
    deadline: float = DEADLINE,
) -> Conversation:
    """Connect from an address of ours, trying again while nobody listens yet; nothing is said.

    With a password all segments are signed (RFC 2385). `TimeoutError` when nobody answers.

    Added in 1.0.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(deadline):
        while True:
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                connection.setblocking(False)
                connection.bind((str(source), 0))
                if password is not None:
                    sign(connection, address, password)
                await loop.sock_connect(connection, (str(address), port))
                return Conversation(*await asyncio.open_connection(sock=connection))
            except BaseException as error:
                connection.close()
                if not isinstance(error, OSError) or isinstance(error, TimeoutError):
                    raise
            await asyncio.sleep(RETRY)


async def establish(
    source: IPv4Address,
    address: IPv4Address,
    port: int,
    opening: Open,
    *,
    keepalive: float | None = 1.0,
    deadline: float = DEADLINE,
) -> Conversation:
    """Connect and bring the session up; tried again when the other side is not ready for it yet.

    Added in 1.0.
    """
    async with asyncio.timeout(deadline):
        while True:
            talk = await dial(source, address, port, deadline=deadline)
            try:
                await talk.open(opening, keepalive)
            except AssertionError:
                await talk.aclose()
                await asyncio.sleep(RETRY)
            else:
                return talk
