"""A call of code under test that ends at its nth await: cancelled there, or with its process killed there.

Added in 1.0.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any, Literal

MOST = 12
"""Maximum number of places in one call at which a rule troubles it."""

_SETTLE = 0.5
"""Seconds that the thing which a killed process waited for may take to end."""

Work = Coroutine[Any, Any, Any]  # Any: of every call
How = Literal["cancel", "kill"]


class _Ending:
    """Runs `work` as it is, up to its nth await."""

    def __init__(self, work: Work, number: int, how: How) -> None:
        self._work = work
        self._number = number
        self._how = how
        self.awaits = 0
        self.reached = asyncio.Event()
        self.waiting: object = None

    def __await__(self) -> Generator[Any, Any, Any]:
        send: Callable[[Any], Any] = self._work.send
        value: Any = None  # Any: what the loop sends
        while True:
            try:
                waiting = send(value)
            except StopIteration as done:
                return done.value
            self.awaits += 1
            if self.awaits == self._number:
                self.waiting = waiting
                self.reached.set()
                if self._how == "kill":
                    # It never goes on: what it waits for belongs to the world now.
                    waiting = None
                    try:
                        yield from asyncio.get_running_loop().create_future()
                    except asyncio.CancelledError as error:
                        send, value = self._work.throw, error
                        continue
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value = yield waiting
                send = self._work.send
            except BaseException as error:  # noqa: BLE001 - passed on to the code under test
                send, value = self._work.throw, error


async def cancelled_at(work: Work, number: int, *, deadline: float) -> bool:
    """Cancel `work` at its nth await; return false when it has fewer, and was not cancelled.

    Fails when the cancelled call does not end within `deadline` seconds. An error of the call counts as its
    end: the next pass shows what is left.
    """
    ending = _Ending(work, number, "cancel")
    task = asyncio.ensure_future(_run(ending))
    done, _ = await asyncio.wait({task}, timeout=deadline)
    assert done, f"the call does not end when it is cancelled at await {number}"
    if not ending.reached.is_set():
        await task
        return False
    if not task.cancelled():
        task.exception()
    return True


async def counted(work: Work, *, deadline: float) -> int:
    """Run `work` to its end and return the number of its awaits."""
    ending = _Ending(work, 0, "cancel")
    async with asyncio.timeout(deadline):
        await ending
    return ending.awaits


def spread(total: int, most: int = MOST) -> list[int]:
    """Return at most `most` numbers of 1 to `total`, evenly spread, the first and the last among them."""
    if total <= most:
        return list(range(1, total + 1))
    return sorted({1 + round(step * (total - 1) / (most - 1)) for step in range(most)})


@contextlib.asynccontextmanager
async def killed_at(work: Work, number: int, *, deadline: float) -> AsyncIterator[bool]:
    """Stop `work` at its nth await for good; yield false when it has fewer, and has ended by itself.

    Its process is dead while the block runs: not even its `finally` runs. It ends with the block.
    """
    ending = _Ending(work, number, "kill")
    task = asyncio.ensure_future(_run(ending))
    reached = asyncio.ensure_future(ending.reached.wait())
    try:
        await asyncio.wait({task, reached}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        else:
            assert reached.done(), "the call does not answer"
            if isinstance(ending.waiting, asyncio.Future):
                await asyncio.wait({ending.waiting}, timeout=_SETTLE)
        yield not task.done()
    finally:
        reached.cancel()
        task.cancel()
        await asyncio.wait({task}, timeout=deadline)
        if task.done() and not task.cancelled():
            task.exception()


async def _run(ending: _Ending) -> Any:  # noqa: ANN401 - the answer of every call
    return await ending
