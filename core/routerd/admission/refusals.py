"""Who was refused, folded: whoever is refused again and again fills no disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import attrs

from routerd.model.audit import AuditEntry
from routerd.spi import Clock
from routerd.store.records import Write

FLUSH_SECONDS = 1.0
MOST_AT_ONCE = 200
"""How many different refusals of one second are told apart."""


class Refusals:
    """Collects refusals and hands them on, about once a second, to be written."""

    def __init__(self, write: Callable[[Sequence[Write]], object], *, clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._held: dict[tuple[str, str, str], AuditEntry] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, entry: AuditEntry) -> None:
        """Take in a refusal; it is written soon, and lost if the process is killed before."""
        key = (entry.source, entry.claim, entry.reason)
        if key not in self._held and len(self._held) >= MOST_AT_ONCE:
            key = ("", "", "too-many")
            entry = AuditEntry(
                at=entry.at, decision="refused", claim="", reason="too-many", message="further refusals"
            )
        known = self._held.get(key)
        self._held[key] = entry if known is None else attrs.evolve(known, count=known.count + 1)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._later(), name="audit of refusals")

    def flush(self) -> None:
        """Hand on what is held, now."""
        held, self._held = self._held, {}
        if held:
            self._write(list(held.values()))

    async def aclose(self) -> None:
        """Hand on what is held and stop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.flush()

    async def _later(self) -> None:
        await self._clock.sleep(FLUSH_SECONDS)
        self.flush()
