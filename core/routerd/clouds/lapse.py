"""How long an entry that is ours by the journal has been absent from the cloud. Pure.

An interrupted or failed change may have been made, and an API may make it late, so its key counts as
ours. That must end, or routerd would one day take another program's entry for its own.
"""

from collections.abc import Iterable

LAPSE = 3600.0
"""Seconds after which no cloud still makes a change that was requested before."""


class Absences:
    """The keys absent from every observation since a moment of the monotonic clock."""

    def __init__(self, seconds: float = LAPSE) -> None:
        self._seconds = seconds
        self._since: dict[str, float] = {}

    def noted(self, absent: Iterable[str], now: float) -> frozenset[str]:
        """Take note of the keys absent at `now`; return those absent for long enough."""
        self._since = {key: self._since.get(key, now) for key in absent}
        return frozenset(key for key, since in self._since.items() if now - since >= self._seconds)

    def forget(self, keys: Iterable[str]) -> None:
        """Restart the count of keys that are about to be changed."""
        for key in keys:
            self._since.pop(key, None)
