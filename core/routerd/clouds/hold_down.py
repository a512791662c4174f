"""Deletions that wait, because what is gone for a moment often comes back. Pure."""

from collections.abc import Hashable, Sequence

from routerd.reconcile.order import AnyChange


class HoldDown:
    """Holds each deletion back for `seconds` after the key became unwanted, without a break.

    `ends` is when the first waiting deletion may be made; none when no deletion waits.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[Hashable, float] = {}
        self.ends: float | None = None

    def filtered(self, changes: Sequence[AnyChange], now: float) -> list[AnyChange]:
        """Return the changes without the deletions that have to wait, by a monotonic clock."""
        gone = {change.key for change in changes if change.verb == "delete"}
        self._since = {key: self._since.get(key, now) for key in gone}
        waiting = {key: since for key, since in self._since.items() if now - since < self._seconds}
        self.ends = min(waiting.values()) + self._seconds if waiting else None
        return [change for change in changes if change.verb != "delete" or change.key not in waiting]
