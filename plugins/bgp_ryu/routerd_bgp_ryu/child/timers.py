"""Timers that leave nothing in memory when something stops them or puts them off.

The library's timers start a green thread for each interval, and another at each reset, that is, at each
UPDATE. A cancelled thread stays in the hub with its stack until it would have been due. A neighbour that
sends much, or comes and goes, could take any amount of memory: some 20 kB for a session, for a hold time.
"""

import time
from collections.abc import Callable
from functools import partial

import eventlet
from eventlet import hubs

from routerd_bgp_ryu.child.osken import Library


class Timer:
    """Calls a function at each interval, in a green thread; the library's name for it is LoopingCall."""

    def __init__(self, call: Callable[..., object], *given: object, **named: object) -> None:
        self._call = partial(call, *given, **named)
        self._interval = 0.0
        self._due = 0.0
        self._pending: Library = None

    def start(self, interval: float, now: bool = True) -> None:
        """Call every `interval` seconds, the first time at once if `now` is set."""
        self.stop()
        self._interval = interval
        self._due = time.monotonic() + (0 if now else interval)
        self._wait()

    def stop(self) -> None:
        """Stop calling."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def reset(self) -> None:
        """Put the next call off until a whole interval from now; this costs next to nothing."""
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
