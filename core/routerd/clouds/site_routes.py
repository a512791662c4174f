"""A cloud's routes at a site with several leaves: it remembers which of them led to us."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from routerd.clouds.journal import JournaledTable
from routerd.clouds.takeover import RoutePermission
from routerd.errors import ProviderError
from routerd.model.change import Change
from routerd.spi import Clock


class SiteRoutes:
    """Wraps a journaled table; implements `spi.Table`."""

    def __init__(self, table: JournaledTable, permission: RoutePermission, clock: Clock) -> None:
        self._table = table
        self._permission = permission
        self._clock = clock

    async def observe(self) -> Mapping[Hashable, object]:
        """Return the routes that are there, and take note of those that lead to us."""
        observed = await self._table.observe()
        self._permission.observed(observed, self._clock.monotonic())
        return observed

    def agrees(self, desired: object, observed: object) -> bool:
        """Ask the table."""
        return self._table.agrees(desired, observed)

    def permits(self, change: Change[Any, Any]) -> bool:
        """Say whether the journal and this leaf's place in its site allow a change."""
        return self._table.permits(change) and self._permission.permits(change, self._clock.monotonic())

    def foresee(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Hashable, ProviderError]:
        """Ask the table."""
        return self._table.foresee(changes)

    async def apply(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Hashable, ProviderError]:
        """Make the changes and take note of the routes that lead to us now."""
        failures = await self._table.apply(changes)
        for change in changes:
            if change.after is not None and change.key not in failures:
                self._permission.won(change.key)
        return failures

    async def undo(self, change: Change[Any, Any], *, undoes: int) -> int:
        """Undo an entry of the journal; an operator's request is made whatever this leaf's place is."""
        return await self._table.undo(change, undoes=undoes)
