"""A log with a budget: a plugin that floods it loses lines, and the count of them is kept."""

from collections.abc import Callable, Mapping
from time import monotonic

from routerd.process.log import Level, Leveled, Log

RATE = 20.0
"""Lines a second that a plugin may write for as long as it likes."""

BURST = 1000
"""Lines that a plugin may write at once."""

LONGEST = 2000
"""Characters of one fact; the rest is cut."""


class BudgetedLog(Leveled):
    """Implements `spi.Logger`; `dropped` counts the lines that the budget had no room for."""

    def __init__(
        self, log: Log, *, rate: float = RATE, burst: int = BURST, now: Callable[[], float] = monotonic
    ) -> None:
        self.dropped = 0
        self._log = log
        self._rate = rate
        self._burst = burst
        self._now = now
        self._left = float(burst)
        self._at = now()
        self._unsaid = 0

    def write(self, level: Level, event: str, facts: Mapping[str, object]) -> None:
        """Write an event, or count it when the budget has no room for it."""
        if not self._log.writes(level):
            return
        now = self._now()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            self.dropped += 1
            self._unsaid += 1
            if self._unsaid == 1:
                self._log.warning("log.budget", lines_a_second=self._rate, text="drops lines from here on")
            return
        if self._unsaid:
            self._log.warning("log.dropped", lines=self._unsaid)
            self._unsaid = 0
        self._left -= 1
        self._log.write(level, event[:LONGEST], {key: _cut(value) for key, value in facts.items()})


def _cut(value: object) -> object:
    if isinstance(value, (bool, int, float, type(None), BaseException)):
        return value
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - the log itself says that a value has no text
        return value
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"
