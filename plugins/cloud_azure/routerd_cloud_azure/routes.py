"""The table `routes`: read whole, and written whole where several routes change.

A write of the whole table under its ETag costs as many calls as that of one route, and no other writer can
come between. A route that changes alone is written by itself all the same: then the request cannot touch,
or fail for, anything else in the table.
"""

from collections.abc import Mapping, Sequence

from routerd.errors import ProviderError, StaleError, TransientError
from routerd.model.fabric import FabricRoute, FabricRouteKey, InstanceFacts, RouteTableRef
from routerd.spi.site_routes import READ_AGAIN, RouteChange, by_table, foreign_table
from routerd_cloud_azure.account import Account
from routerd_cloud_azure.faults import (
    DeniedError,
    MissingError,
    QuotaError,
    RejectedError,
    ThrottledError,
    route_name,
)
from routerd_cloud_azure.inventory import RouteTable
from routerd_cloud_azure.judge import Edit, Judgement, judge

Failures = dict[FabricRouteKey, ProviderError]

_ATTEMPTS = 4
"""Read-modify-write rounds before routerd gives up, when other writers come between."""


class RoutesTable:
    """Implements `spi.ForeseeingTable`: the routes that lead to us, or to another router of the site.

    What complicates this:

    - The least role lacks the permission to write a whole table. So the first denial ends that for good.
    - Azure refuses a whole table for one route in it. So routes are then written one by one.
    - A write changes the ETag of every route in the table. So each one needs a reading of its own.
    - Azure has no condition for a new route, and two routers of a site may make it at once. So a new route
      in a shared site is written with the table, under its ETag.
    - A name is free in the reading and taken in the write. So the table decides again, once.
    - A written route may lead elsewhere in the answer, where another writer came right after.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._seen: dict[RouteTableRef, RouteTable] = {}
        self._may_write_tables = True

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return them, by one read for each table."""
        account, facts = self._account, await self._account.facts()
        if facts.route_tables:
            await account.limit.learn(account.api.routes_limit)
        routers = account.routers(facts)
        hops = {routers.us, *routers.others}
        self._seen = {ref: await account.api.route_table(ref) for ref in facts.route_tables}
        return {
            FabricRouteKey(table=ref, prefix=route.prefix): FabricRoute(next_hop=route.next_hop)
            for ref, table in self._seen.items()
            for route in table.routes
            if route.prefix is not None and route.next_hop in hops
        }

    def foresee(self, changes: Sequence[RouteChange]) -> Failures:
        """Return which of `changes` the tables would refuse, as `observe` read them."""
        failures: Failures = {}
        for ref, part in by_table(changes).items():
            if ref in self._seen and self._account.known is not None:
                failures |= self._judged(part, self._seen[ref], self._account.known).failures
        return failures

    async def apply(self, changes: Sequence[RouteChange]) -> Failures:
        """Make the changes, one table after the other."""
        failures: Failures = {}
        for ref, part in by_table(changes).items():
            try:
                self._account.ctx.refuse_dry_run()
                failures |= await self._change(ref, part)
            except ProviderError as error:
                failures |= {change.key: error for change in part}
        return failures

    async def _change(self, ref: RouteTableRef, changes: Sequence[RouteChange]) -> Failures:
        """Make the changes of one table; raises an error that all of them meet."""
        table, judged = await self._read(ref, changes)
        for attempt in range(_ATTEMPTS):
            if not judged.edits or not self._together(judged.edits):
                break
            try:
                await self._account.api.write_table(table, judged.edits)
            except StaleError:
                if attempt == _ATTEMPTS - 1:
                    raise
                table, judged = await self._read(ref, changes)
            except DeniedError as error:
                # The least role lacks it, so another try is useless.
                self._may_write_tables = False
                self._account.ctx.log.info("azure.routes.singly", table=ref, reason=str(error))
            except (RejectedError, QuotaError):
                break
            else:
                for edit in judged.edits:
                    self._log(edit)
                return dict(judged.failures)
        # The failure of one route must not keep the others from being made.
        return {**judged.failures, **await self._one_by_one(table, judged.edits)}

    def _together(self, edits: Sequence[Edit]) -> bool:
        """Say whether edits are written with the whole table."""
        known = self._account.known
        shared = known is not None and bool(self._account.routers(known).others)
        alone = len(edits) == 1 and not (shared and edits[0].present is None)
        return self._may_write_tables and not alone

    async def _one_by_one(self, table: RouteTable, edits: Sequence[Edit]) -> Failures:
        """Write routes one after the other: Azure works on one operation of a table at a time."""
        failures: Failures = {}
        full: QuotaError | None = None
        for number, edit in enumerate(edits):
            try:
                if full is not None and edit.present is None:
                    raise full
                # A write changes the ETag of every route in the table; a creation needs none.
                fresh = number == 0 or edit.present is None
                await self._one(edit, table if fresh else None)
            except ThrottledError as error:
                return failures | {each.change.key: error for each in edits[number:]}
            except QuotaError as error:
                full = failures[edit.change.key] = error
            except ProviderError as error:
                failures[edit.change.key] = error
        return failures

    async def _one(self, edit: Edit, table: RouteTable | None) -> None:
        """Write one route; where another writer was quicker, a new reading decides."""
        change, rejected = edit.change, False
        judged = Judgement(edits=(edit,), failures={})
        for attempt in range(_ATTEMPTS):
            if table is None:
                table, judged = await self._read(change.key.table, [change])
            if change.key in judged.failures:
                raise judged.failures[change.key]
            if not judged.edits:
                return
            try:
                await self._write(judged.edits[0])
            except StaleError:
                if attempt == _ATTEMPTS - 1:
                    raise
            except RejectedError:
                if rejected:
                    raise
                rejected = True
            else:
                self._log(judged.edits[0])
                return
            table = None

    async def _write(self, edit: Edit) -> None:
        key, api = edit.change.key, self._account.api
        etag = edit.present.etag if edit.present else ""
        if edit.address is None:
            try:
                await api.delete_route(key.table, edit.name, etag)
            except MissingError:
                return
        else:
            written = await api.put_route(key.table, edit.name, key.prefix, edit.address, etag)
            if written.address != edit.address:
                raise TransientError(
                    f"{route_name(key)}: leads to {written.next_hop}, another writer has changed it; routerd "
                    "will read the table again",
                    retry_after=READ_AGAIN,
                )

    async def _read(self, ref: RouteTableRef, changes: Sequence[RouteChange]) -> tuple[RouteTable, Judgement]:
        facts = await self._account.facts()
        if ref not in facts.route_tables:
            raise foreign_table("azure", ref)
        table = await self._account.api.route_table(ref)
        return table, self._judged(changes, table, facts)

    def _judged(self, changes: Sequence[RouteChange], table: RouteTable, facts: InstanceFacts) -> Judgement:
        return judge(changes, table, self._account.routers(facts), self._account.limit.known)

    def _log(self, edit: Edit) -> None:
        key, before = edit.change.key, edit.present.next_hop if edit.present else ""
        self._account.ctx.log.info(
            _EVENTS[edit.change.verb] if edit.present else "azure.route.created",
            table=key.table,
            prefix=key.prefix,
            next_hop=str(edit.address or before),
            before=before,
        )


_EVENTS = {"delete": "azure.route.deleted", "replace": "azure.route.replaced"}
