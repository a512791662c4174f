"""The changes of one route table that one `apply` makes, with as few readings as are safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from routerd.errors import ProviderError
from routerd.model.fabric import FabricRouteKey, RouteTableRef
from routerd_cloud_aws.faults import HALTING, ExistsError, MissingError, QuotaError, not_tried
from routerd_cloud_aws.inventory import RouteTable
from routerd_cloud_aws.verdict import (
    RouteChange,
    Site,
    full,
    is_settled,
    refusal,
    refused_by_quota,
    taken,
)

if TYPE_CHECKING:
    from routerd_cloud_aws.fabric import AwsFabric

_CHUNK = 10
"""Replacements and deletions by one reading: EC2 has no condition for them, so it must be young."""

_CONFIRM_SECONDS = (0.0, 1.0, 3.0)
"""Waits before the readings after replacements; EC2 may show a change only after some seconds
(Amazon EC2 Developer Guide, "Eventual consistency in the Amazon EC2 API")."""


class TableWork:
    """One `apply` on one route table, `table` as it was just read; none is one that is not there.

    `halted` is an error that every further call would meet too.
    """

    def __init__(self, fabric: AwsFabric, site: Site, ref: RouteTableRef, table: RouteTable | None) -> None:
        self._fabric = fabric
        self._site = site
        self._ref = ref
        self._table = table
        self._young = True
        self._added = 0
        self._replaced: set[FabricRouteKey] = set()
        self._failures: dict[FabricRouteKey, ProviderError] = {}
        self._wanted = 0
        self._full: QuotaError | None = None
        self.halted: ProviderError | None = None

    async def run(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Make the changes, deletions first and creations last; return the failures."""
        new = [change for change in changes if change.before is None]
        standing = [change for change in changes if change.before is not None]
        standing.sort(key=lambda change: change.after is not None)
        for start in range(0, len(standing), _CHUNK):
            part = standing[start : start + _CHUNK]
            await self._read_again()
            for change in part:
                await self._try(change)
            await self._confirm(part)
        if new:
            await self._read_again()
        self._wanted = len(new)
        for change in new:
            await self._try(change)
        return self._failures

    async def _read_again(self) -> None:
        """Read the table, unless nothing was changed since it was read."""
        if self._young or self.halted is not None:
            return
        try:
            await self._read()
        except ProviderError as error:
            # Nothing is replaced or deleted by what was true before.
            self.halted = error

    async def _read(self) -> None:
        self._table = (await self._fabric.api.tables([self._ref])).get(self._ref)
        self._young, self._added = True, 0

    async def _try(self, change: RouteChange) -> None:
        """Make a change that is not refused and not made already; note how it failed."""
        stop = self.halted or (self._full if change.before is None else None)
        if stop is not None:
            self._failures[change.key] = not_tried(change.key, stop)
            return
        try:
            await self._make(change)
        except ProviderError as error:
            self._failures[change.key] = error
            if isinstance(error, HALTING):
                self.halted = error
            if isinstance(error, QuotaError):
                self._full = error

    async def _make(self, change: RouteChange) -> None:
        error = refusal(change, self._table, self._site)
        if error is not None:
            raise error
        if self._table is None or is_settled(change, self._table):
            return
        if change.after is None:
            await self._delete(change.key)
        elif self._table.find(change.key.prefix) is None:
            await self._create(change)
        else:
            await self._replace(change.key, change.after.next_hop)

    async def _delete(self, key: FabricRouteKey) -> None:
        self._young = False
        try:
            await self._fabric.api.delete_route(key.table, key.prefix)
        except MissingError:
            return
        self._added -= 1
        self._fabric.log("aws.route.deleted", table=key.table, prefix=key.prefix, interface=self._site.us)

    async def _create(self, change: RouteChange) -> None:
        key, quota = change.key, self._fabric.quota.known
        used = (self._table.used if self._table else 0) + self._added
        if used >= quota.limit:
            raise full(key, used=used, wanted=self._wanted, quota=quota)
        try:
            await self._fabric.api.create_route(key.table, key.prefix, self._site.us)
        except ExistsError:
            # Somebody was quicker. Whoever it was, the table now says, if it shows the route yet.
            await self._read()
            error = refusal(change, self._table, self._site)
            if error is not None:
                raise error from None
            if self._table is None or not is_settled(change, self._table):
                raise
            return
        except QuotaError as error:
            raise refused_by_quota(error, used=used, quota=quota) from error
        self._added += 1
        self._fabric.log("aws.route.created", table=key.table, prefix=key.prefix, interface=self._site.us)

    async def _replace(self, key: FabricRouteKey, next_hop: str) -> None:
        self._young = False
        try:
            await self._fabric.api.replace_route(key.table, key.prefix, next_hop)
        except MissingError:
            # Either the route or its new target is gone; the table says which.
            await self._read()
            if self._table is not None and self._table.find(key.prefix) is None:
                raise taken(key, None) from None
            raise
        self._replaced.add(key)
        self._fabric.log("aws.route.replaced", table=key.table, prefix=key.prefix, interface=next_hop)

    async def _confirm(self, part: Sequence[RouteChange]) -> None:
        """Read until every replacement shows; one that does not was lost to somebody, or is not seen yet."""
        made = [change for change in part if change.key in self._replaced]
        late = made
        try:
            for seconds in _CONFIRM_SECONDS if made else ():
                if seconds:
                    await self._fabric.clock.sleep(seconds)
                await self._read()
                late = [change for change in late if not self._shows(change)]
                if not late:
                    break
        except ProviderError as error:
            self._failures |= {change.key: error for change in late}
            self.halted = error if isinstance(error, HALTING) else self.halted
            return
        for change in late:
            table = self._table
            self._failures[change.key] = taken(change.key, table.find(change.key.prefix) if table else None)

    def _shows(self, change: RouteChange) -> bool:
        return self._table is not None and is_settled(change, self._table)
