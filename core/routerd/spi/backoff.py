"""The pause between two attempts: one formula, and one way to cut it short, for all of routerd."""

import asyncio

from routerd.spi.clock import Clock

_MOST_DOUBLINGS = 20


def doubled(failures: int, *, first: float = 1.0, ceiling: float) -> float:
    """Return seconds until the next attempt after `failures` in a row: `first`, twice that, ... `ceiling`."""
    return min(ceiling, first * 2.0 ** min(max(failures, 1) - 1, _MOST_DOUBLINGS))


async def pause(clock: Clock, seconds: float | None, woken: asyncio.Event) -> None:
    """Wait until the event is set, for at most `seconds` if that is given."""
    if seconds is None:
        await woken.wait()
        return
    ends = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(woken.wait())]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
        await asyncio.wait(ends)
