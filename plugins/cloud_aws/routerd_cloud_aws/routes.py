"""The table `routes`: what of the VPC's route tables leads to a router of the site, and how it is changed.

EC2 writes routes one by one, without a condition, and shows a write only after some seconds.
"""

from collections.abc import Mapping, Sequence

from routerd.errors import ProviderError
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd.spi.site_routes import RouteChange, by_table
from routerd_cloud_aws.account import Account
from routerd_cloud_aws.faults import HALTING, ExistsError, MissingError, QuotaError, not_tried
from routerd_cloud_aws.inventory import RouteTable
from routerd_cloud_aws.judge import Site, is_due, raced, refusals

_CHUNK = 10
"""Replacements and deletions by one reading: EC2 has no condition for them, so it must be young."""

_CONFIRM_SECONDS = (0.0, 1.0, 3.0)
"""Waits before the readings after replacements; EC2 may show a change only after some seconds
(Amazon EC2 Developer Guide, "Eventual consistency in the Amazon EC2 API")."""

_DOUBT_SECONDS = 1.0
"""Seconds between the two readings after which routerd believes that a route of ours has gone."""


class RoutesTable:
    """Implements `spi.ForeseeingTable`; one reading serves all route tables."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._seen: Mapping[str, RouteTable] = {}

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return the routes that lead to us or to another router of the site."""
        site = await self._account.site()
        refs = site.facts.route_tables
        self._seen = await self._account.api.tables(refs) if refs else {}
        await self._account.quota.learn(self._account.api.route_quota)
        return {
            FabricRouteKey(table=RouteTableRef(table.ref), prefix=route.prefix): FabricRoute(
                next_hop=route.target
            )
            for table in self._seen.values()
            for route in table.routes
            # A blackhole that leads to our interface is ours too: it was made while we were stopped.
            if route.target == site.us or route.target in site.routers.others
        }

    def foresee(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Return which changes would be refused, judged by what `observe` read."""
        facts, quota = self._account.known, self._account.quota
        if facts is None:
            return {}
        refused = refusals(changes, self._seen, self._account.site_of(facts), quota.known)
        quota.note(refused.values())
        return refused

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Make the changes table by table, until one shows that EC2 would answer no further call."""
        parts = by_table(changes)
        if not parts:
            return {}
        try:
            self._account.ctx.refuse_dry_run()
            site = await self._account.site()
            refs = [ref for ref in parts if ref in site.facts.route_tables]
            tables = await self._account.api.tables(refs) if refs else {}
        except ProviderError as error:
            return {change.key: error for change in changes}
        failures: dict[FabricRouteKey, ProviderError] = {}
        halted: ProviderError | None = None
        for ref, part in parts.items():
            if halted is not None:
                failures |= {change.key: not_tried(change.key, halted) for change in part}
                continue
            work = TableWork(self._account, site, ref, tables.get(ref))
            failures |= await work.run(part)
            halted = work.halted
        self._account.quota.note(failures.values())
        return failures


class TableWork:
    """The changes of one route table that one `apply` makes, with as few readings as are safe.

    What complicates this:

    - EC2 has no condition for a replacement or a deletion. So a reading serves at most ten of them.
    - A reading may be older than a write before it. So routerd reads until a replacement shows, and it
      believes only a second reading that a route of ours has gone.
    - A creation fails if a route exists, which is the one condition that EC2 has. So creations come last,
      need no reading of their own, and let the table decide when one fails.
    - A throttled or refused call says that the next one would fail too: `halted` ends the work.
    - A full table refuses creations only, and a prefix list counts more than the table shows.

    `table` is as it was just read; none is a table that does not exist.
    """

    def __init__(self, account: Account, site: Site, ref: RouteTableRef, table: RouteTable | None) -> None:
        self._account = account
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
            await self._doubt(part)
            for change in part:
                await self._try(change)
            await self._confirm(part)
        if new:
            await self._read_again()
        self._wanted = len(new)
        for change in new:
            await self._try(change)
        return self._failures

    async def _doubt(self, part: Sequence[RouteChange]) -> None:
        """Read a second time, a little later, if routes that we are to give up seem not to be ours."""
        if self._table is None or self.halted is not None:
            return
        us, routes = self._site.us, self._table.targets
        if any(_leaves(change, us) and routes.get(change.key.prefix) != us for change in part):
            await self._account.ctx.clock.sleep(_DOUBT_SECONDS)
            self._young = False
            await self._read_again()

    async def _read_again(self) -> None:
        """Read the table, unless nothing was changed since it was read."""
        if self._young or self.halted is not None:
            return
        try:
            await self._read()
        except ProviderError as error:
            # An older reading is no ground for a replacement or a deletion.
            self.halted = error

    async def _read(self) -> None:
        self._table = (await self._account.api.tables([self._ref])).get(self._ref)
        self._young, self._added = True, 0

    async def _try(self, change: RouteChange) -> None:
        """Make a change that is due; note how it failed."""
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
        if not is_due(change, self._table, self._site):
            return
        if change.after is None:
            await self._delete(change.key)
        elif self._table is None or self._table.find(change.key.prefix) is None:
            await self._create(change)
        else:
            await self._replace(change.key, change.after.next_hop)

    async def _delete(self, key: FabricRouteKey) -> None:
        self._young = False
        try:
            await self._account.api.delete_route(key.table, key.prefix)
        except MissingError:
            return
        self._added -= 1
        self._log("aws.route.deleted", key, self._site.us)

    async def _create(self, change: RouteChange) -> None:
        key, quota = change.key, self._account.quota.known
        used = (self._table.used if self._table else 0) + self._added
        if used >= quota.limit:
            raise quota.full(key, used=used, wanted=self._wanted)
        try:
            await self._account.api.create_route(key.table, key.prefix, self._site.us)
        except ExistsError:
            # Another writer was quicker. The table now says which one, if it shows the route yet.
            await self._read()
            if is_due(change, self._table, self._site):
                raise
            return
        except QuotaError as error:
            raise quota.refused(error, used=used) from error
        self._added += 1
        self._log("aws.route.created", key, self._site.us)

    async def _replace(self, key: FabricRouteKey, next_hop: str) -> None:
        self._young = False
        try:
            await self._account.api.replace_route(key.table, key.prefix, next_hop)
        except MissingError:
            # Either the route or its new target is gone; the table says which.
            await self._read()
            if self._table is not None and self._table.find(key.prefix) is None:
                raise raced(key, None) from None
            raise
        self._replaced.add(key)
        self._log("aws.route.replaced", key, next_hop)

    async def _confirm(self, part: Sequence[RouteChange]) -> None:
        """Read until every replacement shows; one that does not was lost to another writer, or is late."""
        made = [change for change in part if change.key in self._replaced]
        late = made
        try:
            for seconds in _CONFIRM_SECONDS if made else ():
                if seconds:
                    await self._account.ctx.clock.sleep(seconds)
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
            self._failures[change.key] = raced(change.key, table.find(change.key.prefix) if table else None)

    def _shows(self, change: RouteChange) -> bool:
        route = self._table.find(change.key.prefix) if self._table else None
        return route is not None and change.after is not None and route.target == change.after.next_hop

    def _log(self, event: str, key: FabricRouteKey, next_hop: str) -> None:
        self._account.ctx.log.info(event, table=key.table, prefix=key.prefix, interface=next_hop)


def _leaves(change: RouteChange, us: str) -> bool:
    """Say whether a change takes a route from us."""
    before, after = change.before, change.after
    return before is not None and before.next_hop == us and (after is None or after.next_hop != us)
