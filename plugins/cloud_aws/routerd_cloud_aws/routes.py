"""The table of routes: what of the VPC's route tables leads to our interface, and how that is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from routerd.errors import ProviderError
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd_cloud_aws.faults import not_tried
from routerd_cloud_aws.inventory import RouteTable
from routerd_cloud_aws.table_work import TableWork
from routerd_cloud_aws.verdict import RouteChange, is_refused_for_room, refusals

if TYPE_CHECKING:
    from routerd_cloud_aws.fabric import AwsFabric


class RoutesTable:
    """Implements `spi.ForeseeingTable`; one reading serves all route tables."""

    def __init__(self, fabric: AwsFabric) -> None:
        self._fabric = fabric
        self._seen: Mapping[str, RouteTable] = {}

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return the routes that lead to us or to another router of the site."""
        site = await self._fabric.site()
        refs = site.facts.route_tables
        self._seen = await self._fabric.api.tables(refs) if refs else {}
        await self._fabric.quota.learn(self._fabric.api)
        return {
            FabricRouteKey(table=RouteTableRef(table.ref), prefix=route.prefix): FabricRoute(
                next_hop=route.target
            )
            for table in self._seen.values()
            for route in table.routes
            # A blackhole that leads to our interface is ours too: it was made while we were stopped.
            if route.target == site.us or route.target in site.others
        }

    def foresee(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Return which changes would be refused, judged by what `observe` read."""
        site, quota = self._fabric.known_site, self._fabric.quota
        if site is None:
            return {}
        refused = refusals(changes, self._seen, site, quota.known)
        if is_refused_for_room(refused.values()):
            quota.note_short()
        return refused

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Make the changes table by table, until one shows that no further call would be answered."""
        by_table: dict[RouteTableRef, list[RouteChange]] = {}
        for change in changes:
            by_table.setdefault(change.key.table, []).append(change)
        if not by_table:
            return {}
        try:
            self._fabric.refuse_dry_run()
            site = await self._fabric.site()
            refs = [ref for ref in by_table if ref in site.facts.route_tables]
            tables = await self._fabric.api.tables(refs) if refs else {}
        except ProviderError as error:
            return {change.key: error for change in changes}
        failures: dict[FabricRouteKey, ProviderError] = {}
        halted: ProviderError | None = None
        for ref, part in by_table.items():
            if halted is not None:
                failures |= {change.key: not_tried(change.key, halted) for change in part}
                continue
            work = TableWork(self._fabric, site, ref, tables.get(ref))
            failures |= await work.run(part)
            halted = work.halted
        if is_refused_for_room(failures.values()):
            self._fabric.quota.note_short()
        return failures
