"""Time that a test moves, and an event loop that knows whether something still happens outside of it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

_TURNS = 25
"""Turns in which nothing waits for a thread or a server, before everything is held to be at rest."""

DEADLINE = 60.0
"""Seconds of real time after which something that does not come to rest is a defect."""


class WatchedThreads(ThreadPoolExecutor):
    """Counts the calls that still run, also those that nobody waits for any longer."""

    def __init__(self) -> None:
        super().__init__(max_workers=16)
        self.running = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.running += 1
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _: Future[Any]) -> None:
        self.running -= 1


class WatchedLoop(asyncio.SelectorEventLoop):
    """An event loop that counts what it waits for in threads."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = WatchedThreads()
        self.set_default_executor(self.threads)
        self.awaited = 0

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self.awaited += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _: asyncio.Future[Any]) -> None:
        self.awaited -= 1


class StormClock:
    """Implements `spi.Clock` for the core: whoever sleeps is woken by `advance` alone."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.serving = 0
        self._jumped = timedelta()
        self._count = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed) + self._jumped

    def monotonic(self) -> float:
        return self.elapsed

    def jump(self, by: timedelta) -> None:
        """Set the wall clock on or back, as NTP would."""
        self._jumped += by

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.elapsed + seconds, self._count, woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Move time on; each sleeper wakes at its own moment, and does all that it has to do."""
        target = self.elapsed + seconds
        await self.rest()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, woken = heapq.heappop(self._sleepers)
            if woken.done():
                continue
            self.elapsed = max(self.elapsed, due)
            woken.set_result(None)
            await self.rest()
        self.elapsed = max(self.elapsed, target)
        await self.rest()

    async def rest(self) -> None:
        """Return when everybody sleeps on this clock, and no thread and no server is at work."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WatchedLoop)
        end = loop.time() + DEADLINE
        turns = 0
        while turns < _TURNS:
            if loop.threads.running or loop.awaited or self.serving:
                turns = 0
                assert loop.time() < end, f"nothing came to rest within {DEADLINE:g} s"
                await asyncio.sleep(0.0005)
            else:
                turns += 1
                await asyncio.sleep(0)


class HastyClock:
    """The same time for plugins: their own short pauses pass at once."""

    def __init__(self, clock: StormClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        self._clock.elapsed += max(0.0, seconds)
        await asyncio.sleep(0)
