"""Keeps the library from filling the log: a neighbour controls how often and how much the library writes."""

import logging
import time
from collections.abc import Callable

_LOGGER = "bgpspeaker"
_LINES = 20
_PERIOD = 10.0
"""Maximum lines of the library in that many seconds; `Quiet` counts the others."""

_LONGEST = 500
"""Maximum characters of a line; the library prints whole messages."""


class Quiet(logging.Filter):
    """Lets few and short lines of the library through, and everything of ours."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._since = clock()
        self._lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the log gets a line, and cut the line short."""
        if not record.name.startswith(_LOGGER):
            return True
        now = self._clock()
        left_out = 0
        if now - self._since > _PERIOD:
            left_out = max(0, self._lines - _LINES)
            self._since, self._lines = now, 0
        self._lines += 1
        if self._lines > _LINES:
            return False
        text = record.getMessage()[:_LONGEST]
        record.msg = f"{text} ({left_out} lines before it are left out)" if left_out else text
        record.args = ()
        return True
