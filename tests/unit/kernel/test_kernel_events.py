"""The kernel's notifications: which of them are an event, and how often events come."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from routerd.errors import TransientError
from routerd.kernel.events import LOOKS, PAUSE, REFILL, SETTLE, KernelEvents
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger

NEW_LINK, NEW_ROUTE, DEL_ROUTE = 16, 24, 25
OURS, BIRD = 147, 12


def message(kind: int, protocol: int = 0, metric: int | None = None) -> bytes:
    header = struct.pack("=IHHII", 28, kind, 0, 0, 0)
    attributes = struct.pack("=HHI", 8, 1, 0x0A000001)  # RTA_DST
    if metric is not None:
        attributes += struct.pack("=HHI", 8, 6, metric)
    return header + struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, protocol, 0, 1, 0) + attributes


class Scene:
    """Listens on one end of a pair; `tell` plays the kernel at the other."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.looks: list[float] = []
        self.links: list[float] = []
        self.foreign: list[float] = []
        self.metrics = frozenset({200})
        self.heard, self._kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.heard.setblocking(False)
        self.events = KernelEvents(
            lambda: self.looks.append(self.clock.monotonic()),
            clock=self.clock,
            log=RecordingLogger(),
            listen=lambda _: [self.heard],
            on_links=lambda: self.links.append(self.clock.monotonic()),
            on_foreign=lambda: self.foreign.append(self.clock.monotonic()),
            metrics=lambda: self.metrics,
        )

    def tell(self, *messages: bytes) -> None:
        for each in messages:
            self._kernel.send(each)

    async def pass_time(self, seconds: float) -> None:
        # The loop has to see the socket before time moves.
        await self.clock.settle()
        await self.clock.advance(seconds)

    def close(self) -> None:
        self.heard.close()
        self._kernel.close()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    task = asyncio.create_task(made.events.run())
    await made.clock.settle()
    assert made.looks == [0.0]
    made.looks.clear()
    yield made
    task.cancel()
    await asyncio.wait([task])
    assert made.heard.fileno() == -1
    made.close()


async def test_a_change_is_an_event_at_once(scene: Scene) -> None:
    scene.tell(message(NEW_LINK))
    await scene.pass_time(SETTLE)
    assert scene.looks == [SETTLE]


@pytest.mark.parametrize("kind", [16, 17, 20, 21])
async def test_links_and_addresses_have_their_own_event(scene: Scene, kind: int) -> None:
    scene.tell(message(DEL_ROUTE, OURS), message(30))
    await scene.pass_time(PAUSE + SETTLE)
    assert scene.links == []
    scene.tell(message(NEW_ROUTE, OURS), message(kind))
    await scene.pass_time(SETTLE)
    assert len(scene.links) == 1
    assert len(scene.looks) == 2


async def test_simultaneous_changes_are_one_event(scene: Scene) -> None:
    scene.tell(message(NEW_LINK), message(NEW_LINK))
    await scene.pass_time(SETTLE / 2)
    scene.tell(message(NEW_LINK))
    await scene.pass_time(100)
    assert scene.looks == [SETTLE]


async def test_a_change_during_the_pause_is_an_event_after_it(scene: Scene) -> None:
    scene.tell(message(NEW_LINK))
    await scene.pass_time(SETTLE)
    scene.tell(message(NEW_LINK))
    await scene.pass_time(PAUSE)
    await scene.pass_time(SETTLE)
    assert scene.looks == [SETTLE, pytest.approx(SETTLE + PAUSE + SETTLE)]


async def test_foreign_routes_are_not_an_event(scene: Scene) -> None:
    scene.tell(message(NEW_ROUTE, BIRD), message(DEL_ROUTE, BIRD), message(NEW_ROUTE, BIRD, metric=32))
    await scene.pass_time(10)
    assert scene.looks == []
    scene.tell(message(DEL_ROUTE, OURS))
    await scene.pass_time(10)
    assert len(scene.looks) == 1


@pytest.mark.parametrize("kind", [NEW_ROUTE, DEL_ROUTE])
async def test_a_foreign_route_of_one_of_our_metrics_is_an_event_of_its_own(scene: Scene, kind: int) -> None:
    scene.tell(message(kind, BIRD, metric=200))
    await scene.pass_time(10)
    assert (len(scene.looks), len(scene.foreign), scene.links) == (1, 1, [])
    scene.tell(message(kind, OURS, metric=200))
    await scene.pass_time(10)
    assert (len(scene.looks), len(scene.foreign)) == (2, 1)
    # A reload brought a static route of another metric.
    scene.metrics = frozenset({200, 0, 32})
    scene.tell(message(NEW_LINK))
    await scene.pass_time(10)
    for metric in (32, None):
        scene.tell(message(kind, BIRD, metric=metric))
        await scene.pass_time(10)
    assert (len(scene.looks), len(scene.foreign)) == (5, 3)


async def test_an_endless_stream_gives_few_events_and_a_later_change_one_at_once(
    scene: Scene,
) -> None:
    for _ in range(1000):
        scene.tell(*[message(NEW_LINK)] * 3)
        await scene.pass_time(0.1)
    assert 100 / REFILL < len(scene.looks) <= LOOKS + 100 / REFILL + 1
    await scene.pass_time(LOOKS * REFILL)
    before = scene.clock.monotonic()
    scene.tell(message(NEW_LINK))
    await scene.pass_time(1)
    assert scene.looks[-1] == pytest.approx(before + SETTLE)


class Overflowing:
    """A socket that lost its first datagrams, or that fails in another way."""

    def __init__(self, sock: socket.socket, code: int) -> None:
        self._sock = sock
        self._code = code

    def setsockopt(self, *words: Any) -> None:
        self._sock.setsockopt(*words)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def recv(self, size: int) -> bytes:
        code, self._code = self._code, 0
        if code:
            raise OSError(code, "no")
        return self._sock.recv(size)


async def test_an_overflow_is_one_event() -> None:
    scene = Scene()
    lost: Any = Overflowing(scene.heard, errno.ENOBUFS)
    scene.events._listen = lambda _: [lost]
    task = asyncio.create_task(scene.events.run())
    scene.tell(message(NEW_ROUTE, BIRD))
    await scene.pass_time(100)
    assert scene.looks == [0.0, SETTLE]
    task.cancel()
    await asyncio.wait([task])
    scene.close()


async def test_a_failed_socket_is_an_error_for_the_owner_of_the_task() -> None:
    scene = Scene()
    broken: Any = Overflowing(scene.heard, errno.EIO)
    scene.events._listen = lambda _: [broken]
    scene.tell(message(NEW_LINK))
    with pytest.raises(TransientError, match="listen to the kernel"):
        await scene.events.run()
    scene.close()
