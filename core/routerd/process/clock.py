"""The real clock. The only place that asks the host for the time."""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `spi.Clock` with the host's clocks."""

    def now(self) -> datetime:
        """Return the current UTC time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on the monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        await asyncio.sleep(seconds)
