"""Token buckets, one per account and plugin; all profiles of an account share its rate."""

from routerd.spi import Clock, Pacer


class TokenBucket:
    """Implements `spi.Pacer`."""

    def __init__(self, clock: Clock, *, rate: float, burst: int) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"a bucket of {burst} calls, filled at {rate} a second, admits no call")
        self._clock = clock
        self._interval = 1.0 / rate
        self._slack = (burst - 1) * self._interval
        self._next = clock.monotonic() - self._slack
        """Monotonic time of the next call at the steady rate; a burst may be ahead of it by the slack."""

    async def take(self) -> None:
        """Return when one more call may be made; a waiting caller has reserved its turn."""
        now = self._clock.monotonic()
        due = max(self._next, now - self._slack)
        self._next = due + self._interval
        if due > now:
            await self._clock.sleep(due - now)

    def hold(self, seconds: float) -> None:
        """Admit no call for `seconds`, and no burst afterwards."""
        self._next = max(self._next, self._clock.monotonic() + seconds)


class Buckets:
    """The buckets of one plugin; implements `spi.Pacing`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    def __call__(self, account: str, *, rate: float, burst: int) -> Pacer:
        """Return the bucket of `account`; the first call creates it."""
        if account not in self._buckets:
            self._buckets[account] = TokenBucket(self._clock, rate=rate, burst=burst)
        return self._buckets[account]
