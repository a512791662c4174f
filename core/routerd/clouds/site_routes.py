"""A cloud's routes at a site with several leaves: it remembers which of them led to us."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from routerd.clouds.gate import Gate
from routerd.clouds.journal import JournaledTable
from routerd.clouds.takeover import RoutePermission
from routerd.errors import ProviderError
from routerd.model.change import Change
from routerd.spi import Clock, Logger, Table
from routerd.store import JournalBook


class SiteRoutes(JournaledTable):
    """The journaled routes of a cloud, changed as this leaf's place in its site permits.

    An operator's `undo` is made whatever that place is.
    """

    def __init__(
        self,
        table: Table[Any, Any],  # Any: as JournaledTable
        journal: JournalBook,
        *,
        scope: str,
        gate: Gate,
        clock: Clock,
        log: Logger,
        permission: RoutePermission,
    ) -> None:
        super().__init__(table, journal, scope=scope, name="routes", gate=gate, clock=clock, log=log)
        self._permission = permission
        self._now = clock.monotonic

    async def observe(self) -> Mapping[Hashable, object]:
        """Return the routes that are there, and take note of those that lead to us."""
        observed = await super().observe()
        self._permission.observed(observed, self._now())
        return observed

    def permits(self, change: Change[Any, Any]) -> bool:
        """Say whether the journal and this leaf's place in its site allow a change."""
        return super().permits(change) and self._permission.permits(change, self._now())

    async def apply(self, changes: Sequence[Change[Any, Any]]) -> Mapping[Hashable, ProviderError]:
        """Make the changes and take note of the routes that lead to us now."""
        failures = await super().apply(changes)
        for change in changes:
            if change.after is not None and change.key not in failures:
                self._permission.won(change.key)
        return failures
