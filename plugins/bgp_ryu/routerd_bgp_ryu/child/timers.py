"""Timers that leave nothing behind when they are stopped or put off.

The library's start a green thread for each interval, and another at each reset, which is at each
UPDATE; what was cancelled stays in the hub, stack and all, until it would have been due. A neighbour
that sends much, or comes and goes, so takes as much memory as it likes: some 20 kB for a session, a
hold time long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import eventlet
from eventlet import hubs

from routerd_bgp_ryu.child.quirks import Library


class Timer:
    """Calls something again and again, in a green thread; what the library calls a LoopingCall."""

    def __init__(self, call: Callable[..., object], *given: object, **named: object) -> None:
        self._call = partial(call, *given, **named)
        self._interval = 0.0
        self._due = 0.0
        self._pending: Library = None

    @property
    def running(self) -> bool:
        """Say whether it will call."""
        return self._pending is not None

    @property
    def interval(self) -> float:
        """Return the seconds between two calls."""
        return self._interval

    def start(self, interval: float, now: bool = True) -> None:
        """Call every `interval` seconds, the first time at once when it is `now`."""
        self.stop()
        self._interval = interval
        self._due = time.monotonic() + (0 if now else interval)
        self._wait()

    def stop(self) -> None:
        """Call no more."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def reset(self) -> None:
        """Put the next call off until a whole interval from now; costs next to nothing."""
        self._due = time.monotonic() + self._interval

    def _wait(self) -> None:
        seconds = max(0.0, self._due - time.monotonic())
        self._pending = hubs.get_hub().schedule_call_global(seconds, self._wake)

    def _wake(self) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._interval
            eventlet.spawn(self._call)
        self._wait()


def mend_timers(utils: Library) -> None:
    """Make the library use these timers."""
    utils.LoopingCall = Timer
