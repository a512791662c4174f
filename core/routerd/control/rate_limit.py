"""A token bucket for each source of requests."""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Address

from routerd.spi import Clock


class RateLimit:
    """Allows each source `burst` requests at once and `rate` per second from then on.

    It remembers at most `sources` of them; the one that was quiet longest is forgotten first.
    IPv6 sources count by their /64, which one host can fill alone.
    """

    def __init__(self, *, clock: Clock, rate: float = 5.0, burst: int = 30, sources: int = 4096) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._sources = sources
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def wait(self, source: IPv4Address | IPv6Address) -> int:
        """Count one request and return 0, or after how many seconds the source may ask again."""
        key = int(source) if source.version == 4 else (1 << 128) | int(source) >> 64
        now = self._clock.monotonic()
        tokens, seen = self._buckets.pop(key, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - seen) * self._rate)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._sources:
            self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1 - tokens) / self._rate))
