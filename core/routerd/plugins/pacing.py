"""Token buckets, one for each account of each plugin, so that no number of profiles calls too often."""

from __future__ import annotations

from routerd.spi import Clock, Pacer


class TokenBucket:
    """Implements `spi.Pacer`."""

    def __init__(self, clock: Clock, *, rate: float, burst: int) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"a bucket of {burst} calls, filled at {rate} a second, lets nobody through")
        self._clock = clock
        self._interval = 1.0 / rate
        self._slack = (burst - 1) * self._interval
        self._next = clock.monotonic() - self._slack
        """When the next call is due if calls came at the steady rate; a burst may be ahead by the slack."""

    async def take(self) -> None:
        """Return when one more call may be made; whoever waits has its turn booked already."""
        now = self._clock.monotonic()
        due = max(self._next, now - self._slack)
        self._next = due + self._interval
        if due > now:
            await self._clock.sleep(due - now)

    def hold(self, seconds: float) -> None:
        """Let nobody make a call for `seconds`, and afterwards no burst."""
        self._next = max(self._next, self._clock.monotonic() + seconds)


class Buckets:
    """The buckets of one plugin; implements `spi.Pacing`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    def __call__(self, account: str, *, rate: float, burst: int) -> Pacer:
        """Return the bucket of `account`, made at the first call."""
        if account not in self._buckets:
            self._buckets[account] = TokenBucket(self._clock, rate=rate, burst=burst)
        return self._buckets[account]
