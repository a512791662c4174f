"""A clock that only a test moves."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

_TURNS = 200
"""Turns of the loop for woken tasks; enough for a chain of awaits inside the process."""


class FakeClock:
    """Implements `spi.Clock`; time moves only through `advance` and `jump`.

    Added in 1.0.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._jumped = timedelta()
        self._count = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the fake UTC time."""
        return self._start + timedelta(seconds=self._elapsed) + self._jumped

    def monotonic(self) -> float:
        """Return seconds since the clock was made."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved the clock by `seconds`; 0 or less only yields."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._count, woken))
        await woken

    @property
    def sleepers(self) -> int:
        """Return the number of sleeping tasks."""
        return sum(1 for _, _, woken in self._sleepers if not woken.done())

    async def advance(self, seconds: float) -> None:
        """Move time on; wake each sleeper at its own moment and let it run."""
        if seconds < 0:
            raise ValueError("time on a monotonic clock does not go back; see jump")
        target = self._elapsed + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, woken = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, due)
            if not woken.done():
                woken.set_result(None)
                await self.settle()
        self._elapsed = target
        await self.settle()

    def jump(self, by: timedelta) -> None:
        """Set the wall clock on or back, as NTP would; wake no sleeper."""
        self._jumped += by

    async def settle(self) -> None:
        """Let the other tasks run until they wait for an event outside this clock."""
        # asyncio's own loops tell what is ready to run. Two turns without anything are enough: between them
        # the loop has looked at its sockets. Another loop gets all turns.
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        idle = 0
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            idle = 0 if ready is None or ready else idle + 1
            if idle == 2:
                return
