"""Since when what is ours by the journal has not been found, and when that has been so for long enough. Pure.

A change that was interrupted, or that failed, may have been made, and an API may make it late. So its key
counts as ours; but not for ever, or what somebody else makes in its place one day would be taken for ours.
"""

from __future__ import annotations

from collections.abc import Iterable

LAPSE = 3600.0
"""Seconds after which nothing that was asked for before is made any longer, by any cloud."""


class Absences:
    """The keys that were not there at any look since a moment of the monotonic clock."""

    def __init__(self, seconds: float = LAPSE) -> None:
        self._seconds = seconds
        self._since: dict[str, float] = {}

    def noted(self, absent: Iterable[str], now: float) -> frozenset[str]:
        """Take note of all that is absent at `now`; return what has been so for long enough."""
        self._since = {key: self._since.get(key, now) for key in absent}
        return frozenset(key for key, since in self._since.items() if now - since >= self._seconds)

    def forget(self, keys: Iterable[str]) -> None:
        """Count anew for keys that are about to be changed."""
        for key in keys:
            self._since.pop(key, None)
