"""Time as a parameter, so that tests move it by hand."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The current time, and waiting."""

    def now(self) -> datetime:
        """Return the current UTC time, aware of its zone; it may jump."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps; only differences have a meaning."""

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of monotonic time."""
