"""How often an account is called: a burst, then a steady rate, and a pause when it was too often."""

from __future__ import annotations

import asyncio

import pytest

from routerd.plugins.pacing import Buckets, TokenBucket
from routerd.testing.clock import FakeClock


async def calls(bucket: TokenBucket, count: int, clock: FakeClock) -> list[float]:
    """Return when each of `count` calls that want to be made at once was made, in seconds from now."""
    began = clock.monotonic()
    made: list[float] = []

    async def call() -> None:
        await bucket.take()
        made.append(clock.monotonic() - began)

    tasks = [asyncio.ensure_future(call()) for _ in range(count)]
    for _ in range(200):
        await clock.advance(0.1)
    await asyncio.gather(*tasks)
    return [round(each, 1) for each in made]


async def test_a_burst_passes_and_then_the_steady_rate() -> None:
    clock = FakeClock()
    bucket = TokenBucket(clock, rate=2.0, burst=3)
    assert await calls(bucket, 6, clock) == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]


async def test_tokens_come_back_and_never_beyond_the_burst() -> None:
    clock = FakeClock()
    bucket = TokenBucket(clock, rate=2.0, burst=3)
    await calls(bucket, 3, clock)
    await clock.advance(3600.0)
    assert await calls(bucket, 4, clock) == [0.0, 0.0, 0.0, 0.5]


async def test_after_a_hold_there_is_no_burst() -> None:
    clock = FakeClock()
    bucket = TokenBucket(clock, rate=2.0, burst=3)
    bucket.hold(7.0)
    assert await calls(bucket, 3, clock) == [7.0, 7.5, 8.0]


async def test_whoever_waits_is_not_overtaken_by_a_hold_that_is_shorter() -> None:
    clock = FakeClock()
    bucket = TokenBucket(clock, rate=1.0, burst=1)
    bucket.hold(5.0)
    bucket.hold(1.0)
    assert await calls(bucket, 2, clock) == [5.0, 6.0]


async def test_an_account_has_one_bucket_and_another_account_another() -> None:
    clock = FakeClock()
    buckets = Buckets(clock)
    assert buckets("a", rate=1.0, burst=1) is buckets("a", rate=9.0, burst=9)
    assert buckets("a", rate=1.0, burst=1) is not buckets("b", rate=1.0, burst=1)


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_a_bucket_that_lets_nobody_through_is_a_mistake(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="admits no call"):
        TokenBucket(FakeClock(), rate=rate, burst=burst)
