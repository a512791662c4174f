"""Deletions that wait, because what is gone for a moment often comes back. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from routerd.reconcile.order import AnyChange


class HoldDown:
    """Holds each deletion back for `seconds` after it was first wanted; what is wanted back starts anew."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[Hashable, float] = {}

    def filtered(self, changes: Sequence[AnyChange], now: float) -> list[AnyChange]:
        """Return the changes without the deletions that have to wait, by a monotonic clock."""
        gone = {change.key for change in changes if change.verb == "delete"}
        self._since = {key: self._since.get(key, now) for key in gone}
        return [
            change
            for change in changes
            if change.verb != "delete" or now - self._since[change.key] >= self._seconds
        ]

    def ends(self) -> float | None:
        """Return when the first deletion that waits may be made, none when none waits."""
        return min(self._since.values()) + self._seconds if self._seconds and self._since else None
