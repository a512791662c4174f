"""The one way in which tests wait for what other processes do.

The deadline is not a rule about speed: it ends a test whose condition never comes true. A test that has a
time as its subject measures it, or moves a clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE = 300.0
"""Seconds that anything may take: an emulated machine beside other work has a time of its own."""


def nothing() -> str:
    """Add nothing to the message of a wait that failed."""
    return ""


def until(
    holds: Callable[[], object], what: str = "the condition", *, more: Callable[[], str] = nothing
) -> None:
    """Wait until something holds; `more` tells what a person needs when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}\n{more()}"
        time.sleep(0.05)


async def until_async(
    holds: Callable[[], Awaitable[object] | object],
    what: str = "the condition",
    *,
    more: Callable[[], str] = nothing,
) -> None:
    """Do the same in a loop, for a condition that may be a coroutine."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = holds()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}\n{more()}"
        await asyncio.sleep(0.05)
