"""Limits for strangers: requests per second, and connections."""

import math
from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Address

from routerd.spi import Clock

Address = IPv4Address | IPv6Address


class RateLimit:
    """Allows each source `burst` requests at once and `rate` per second after that; likewise for all.

    A source over its own limit takes nothing from the limit of all. The limit of all lets 2,000
    leaves send two requests each at the same moment, when a reflector returns, and afterwards six
    times as many as leaves normally send.

    The limit remembers at most `sources` sources and forgets the quietest first. IPv6 sources count
    by their /64, because one host can fill it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rate: float = 5.0,
        burst: int = 30,
        total_rate: float = 200.0,
        total_burst: int = 4000,
        sources: int = 4096,
    ) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = float(burst)
        self._total_rate = total_rate
        self._total_burst = float(total_burst)
        self._sources = sources
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()
        self._total = (self._total_burst, clock.monotonic())

    def wait(self, source: Address) -> int:
        """Count one request of a source; return 0, or the seconds until its next one is allowed."""
        key = _key(source)
        now = self._clock.monotonic()
        tokens, seen = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - seen) * self._rate)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._sources:
            self._buckets.popitem(last=False)
        return 0 if allowed else _seconds(tokens, self._rate)

    def wait_for_all(self) -> int:
        """Count one request of any source; return 0, or the seconds until the next one is allowed."""
        now = self._clock.monotonic()
        tokens, seen = self._total
        tokens = min(self._total_burst, tokens + (now - seen) * self._total_rate)
        allowed = tokens >= 1
        self._total = (tokens - 1 if allowed else tokens, now)
        return 0 if allowed else _seconds(tokens, self._total_rate)


class ConnectionLimit:
    """Allows `total` connections at a time, and each source `each` of them.

    IPv6 sources count by their /64, as above.
    """

    def __init__(self, *, total: int = 2048, each: int = 64) -> None:
        self._total = total
        self._each = each
        self._held: dict[int, int] = {}
        self.count = 0

    def enter(self, source: Address) -> bool:
        """Count a connection, unless it is one too many."""
        key = _key(source)
        held = self._held.get(key, 0)
        if self.count >= self._total or held >= self._each:
            return False
        self._held[key] = held + 1
        self.count += 1
        return True

    def leave(self, source: Address) -> None:
        """Count the end of a connection that was let in."""
        key = _key(source)
        held = self._held.pop(key) - 1
        if held:
            self._held[key] = held
        self.count -= 1


def _key(source: Address) -> int:
    return int(source) if source.version == 4 else (1 << 128) | int(source) >> 64


def _seconds(tokens: float, rate: float) -> int:
    return max(1, math.ceil((1 - tokens) / rate))
