"""Interrupted dumps and stopped batches, on a socket that plays the kernel."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Self

import pytest

from routerd.errors import TransientError
from routerd.kernel.routes import messages as wire
from routerd.kernel.routes import socket as route_socket
from routerd.kernel.routes.table import RouteTable
from routerd.model.change import Change
from routerd.model.route import Route, RouteKey

HOLE = Route(next_hops=(), kind="blackhole")


def key(number: int) -> RouteKey:
    return RouteKey(prefix=IPv4Network((10 << 24) + number))


def creations(count: int) -> list[route_socket.RouteChange]:
    return [Change(key=key(number), before=None, after=HOLE) for number in range(count)]


class PlayedSocket:
    """Answers a dump with one route, and each batch with the prepared answer."""

    def __init__(self, kernel: PlayedKernel) -> None:
        self._kernel = kernel
        self._answers: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def getsockopt(self, *_: object) -> int:
        return self._kernel.buffer

    def send(self, data: bytes) -> None:
        requests = list(wire.messages(memoryview(data)))
        if requests[0][0] == wire.RTM_GETROUTE:
            torn = wire.NLM_F_DUMP_INTR if self._kernel.interruptions > 0 else 0
            self._kernel.interruptions -= 1
            self._kernel.dumps += 1
            route = wire.new_route(key(1), HOLE, flags=2, index_of=lambda _: 1)
            done = wire.HEADER.pack(20, wire.NLMSG_DONE, 2 | torn, 1, 0) + bytes(4)
            self._answers = [route, done]
            return
        assert len(data) <= self._kernel.buffer
        self._kernel.sent.append(len(requests))
        self._kernel.on_send()
        self._answers = []
        for number, (_, flags, sequence, _) in enumerate(requests, start=sum(self._kernel.sent[:-1])):
            code = self._kernel.refuse.get(number, 0)
            if code or flags & wire.NLM_F_ACK:
                head = wire.HEADER.pack(36, wire.NLMSG_ERROR, 0, sequence, 0)
                self._answers.append(head + (-code).to_bytes(4, "little", signed=True) + bytes(16))

    def recv(self, _: int) -> bytes:
        return self._answers.pop(0)


class PlayedKernel:
    def __init__(self) -> None:
        self.buffer = 1 << 22
        self.interruptions = 0
        self.dumps = 0
        self.sent: list[int] = []
        self.refuse: dict[int, int] = {}
        self.on_send: Callable[[], None] = lambda: None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> PlayedKernel:
    played = PlayedKernel()
    monkeypatch.setattr(route_socket, "open_socket", lambda: PlayedSocket(played))
    return played


async def test_an_interrupted_dump_is_repeated(kernel: PlayedKernel) -> None:
    kernel.interruptions = 3
    assert await RouteTable().observe() == {key(1): HOLE}
    assert kernel.dumps == 4


async def test_a_dump_that_is_interrupted_every_time_is_an_error(kernel: PlayedKernel) -> None:
    kernel.interruptions = 1000
    with pytest.raises(TransientError, match="interrupted 5 times"):
        await RouteTable().observe()


async def test_a_refusal_names_the_route_of_its_own_request(kernel: PlayedKernel) -> None:
    last = 2 * route_socket.BATCH + 9
    kernel.refuse = dict.fromkeys((0, route_socket.BATCH - 1, route_socket.BATCH, last), errno.EINVAL)
    failures = await RouteTable().apply(creations(last + 1))
    assert set(failures) == {key(number) for number in kernel.refuse}
    assert kernel.sent == [route_socket.BATCH, route_socket.BATCH, 10]


async def test_batches_fit_small_buffers(kernel: PlayedKernel) -> None:
    kernel.buffer = 20_000
    assert await RouteTable().apply(creations(100)) == {}
    assert sum(kernel.sent) == 100
    assert max(kernel.sent) * 1024 <= kernel.buffer


async def test_a_cancelled_apply_finishes_its_batch_and_begins_no_other(
    kernel: PlayedKernel,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go_on.wait(10)

    kernel.on_send = hold
    task = asyncio.create_task(RouteTable().apply(creations(10 * route_socket.BATCH)))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0)
    assert not done, "the batch that has begun is waited for"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert kernel.sent == [route_socket.BATCH]
