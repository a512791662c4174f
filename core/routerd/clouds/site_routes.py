"""A cloud's routes where the site has several leaves: which of them were ours is remembered."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from routerd.clouds.journal import JournaledTable
from routerd.clouds.takeover import Routes
from routerd.errors import ProviderError
from routerd.model.change import Change
from routerd.spi import Clock


class SiteRoutes:
    """Wraps a journaled table; implements `spi.Table`."""

    def __init__(self, table: JournaledTable, routes: Routes, clock: Clock) -> None:
        self._table = table
        self._routes = routes
        self._clock = clock

    async def observe(self) -> Mapping[Hashable, object]:
        """Return what is there, and take note of what leads to us."""
        observed = await self._table.observe()
        self._routes.observed(observed, self._clock.monotonic())
        return observed

    def agrees(self, desired: object, observed: object) -> bool:
        """Ask the table."""
        return self._table.agrees(desired, observed)

    def permits(self, change: Change[Any, Any]) -> bool:
        """Say whether a change may be made by what is ours, and by where we stand in our site."""
        return self._table.permits(change) and self._routes.permits(change, self._clock.monotonic())

    def foresee(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Hashable, ProviderError]:
        """Ask the table."""
        return self._table.foresee(changes)

    async def apply(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Hashable, ProviderError]:
        """Make the changes and take note of what leads to us now."""
        failures = await self._table.apply(changes)
        for change in changes:
            if change.after is not None and change.key not in failures:
                self._routes.won(change.key)
        return failures

    async def undo(self, change: Change[Any, Any], *, undoes: int) -> int:
        """Undo an entry of the journal; what somebody asks for by hand is made wherever we stand."""
        return await self._table.undo(change, undoes=undoes)
