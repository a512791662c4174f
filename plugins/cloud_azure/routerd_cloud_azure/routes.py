"""The routes of our route tables: read whole, and written whole where several change.

A write of the whole table under its ETag costs as many calls as that of one route, and nobody can come
between. A route that changes alone is written by itself all the same: then the request cannot touch, or
fail for, anything else in the table. Only a new route in a shared site is not: nothing but the
table's ETag keeps two routers from making it at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from routerd.errors import NotOwnedError, ProviderError, TransientError
from routerd.model.fabric import FabricRoute, FabricRouteKey, InstanceFacts, RouteTableRef
from routerd_cloud_azure.api import Api
from routerd_cloud_azure.edits import Edit, Judgement, Limit, RouteChange, Routers, judge
from routerd_cloud_azure.faults import (
    DeniedError,
    MissingError,
    QuotaError,
    RejectedError,
    StaleError,
    ThrottledError,
)
from routerd_cloud_azure.resources import RouteTable

Failures = dict[FabricRouteKey, ProviderError]

_ATTEMPTS = 4
"""How often a read-modify-write is tried again when somebody else writes in between."""


class Site(Protocol):
    """What the routes need to know of the fabric that they belong to."""

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        ...

    @property
    def known(self) -> InstanceFacts | None:
        """Return what was found out about our instance."""
        ...

    @property
    def others(self) -> frozenset[str]:
        """Return the addresses of the site's other routers."""
        ...

    @property
    def limit(self) -> Limit:
        """Return how many routes a table may hold, as far as we know."""
        ...

    async def facts(self) -> InstanceFacts:
        """Find out about our instance where it is not known."""
        ...

    async def ask_limit(self) -> None:
        """Find out how many routes a table may hold where it is not known."""
        ...

    def refuse_dry_run(self) -> None:
        """Raise when nothing may be changed."""
        ...

    def log(self, event: str, **facts: object) -> None:
        """Log a change that was made."""
        ...


class RoutesTable:
    """The routes in our route tables that lead to us, or to another router of the site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._seen: dict[RouteTableRef, RouteTable] = {}
        self._may_write_tables = True

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return them, by one read for each table."""
        facts = await self._site.facts()
        if facts.route_tables:
            await self._site.ask_limit()
        hops = {facts.next_hop, *self._site.others}
        self._seen = {ref: await self._site.api.route_table(ref) for ref in facts.route_tables}
        return {
            FabricRouteKey(table=ref, prefix=route.prefix): FabricRoute(next_hop=route.next_hop)
            for ref, table in self._seen.items()
            for route in table.routes
            if route.prefix is not None and route.next_hop in hops
        }

    def foresee(self, changes: Sequence[RouteChange]) -> Failures:
        """Return what of `changes` the tables as they were read last would refuse."""
        failures: Failures = {}
        for ref, part in _by_table(changes).items():
            if ref in self._seen and self._site.known is not None:
                failures |= self._judged(part, self._seen[ref], self._site.known).failures
        return failures

    async def apply(self, changes: Sequence[RouteChange]) -> Failures:
        """Make the changes, one table after the other."""
        failures: Failures = {}
        for ref, part in _by_table(changes).items():
            try:
                self._site.refuse_dry_run()
                failures |= await self._change(ref, part)
            except ProviderError as error:
                failures |= {change.key: error for change in part}
        return failures

    async def _change(self, ref: RouteTableRef, changes: Sequence[RouteChange]) -> Failures:
        """Make the changes of one table; raises what is wrong with all of them."""
        table, judged = await self._read(ref, changes)
        for attempt in range(_ATTEMPTS):
            if not judged.edits or not self._together(judged.edits):
                break
            try:
                await self._site.api.write_table(table, judged.edits)
            except StaleError:
                if attempt == _ATTEMPTS - 1:
                    raise
                table, judged = await self._read(ref, changes)
            except DeniedError as error:
                # The least role goes without; there is no use in asking again.
                self._may_write_tables = False
                self._site.log("azure.routes.singly", table=ref, reason=str(error))
            except (RejectedError, QuotaError):
                break
            else:
                for edit in judged.edits:
                    self._log(edit)
                return dict(judged.failures)
        # What one of them cannot have must not keep the others from being made.
        return {**judged.failures, **await self._one_by_one(table, judged.edits)}

    def _together(self, edits: Sequence[Edit]) -> bool:
        """Say whether edits are written with the whole table."""
        alone = len(edits) == 1 and not (self._site.others and edits[0].present is None)
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
        """Write one route; where somebody else was quicker, what the table says then decides."""
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
        key, api = edit.change.key, self._site.api
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
                    f"azure route {key.prefix} in {key.table}: somebody else has made it lead to "
                    f"{written.next_hop or written.hop} meanwhile"
                )

    async def _read(self, ref: RouteTableRef, changes: Sequence[RouteChange]) -> tuple[RouteTable, Judgement]:
        facts = await self._site.facts()
        if ref not in facts.route_tables:
            raise NotOwnedError(
                f"azure route table {ref}: is none of this instance's; set routeTables to use it"
            )
        table = await self._site.api.route_table(ref)
        return table, self._judged(changes, table, facts)

    def _judged(self, changes: Sequence[RouteChange], table: RouteTable, facts: InstanceFacts) -> Judgement:
        routers = Routers(us=facts.next_hop, others=self._site.others - {facts.next_hop})
        return judge(changes, table, routers, self._site.limit)

    def _log(self, edit: Edit) -> None:
        verb = "deleted" if edit.address is None else "created" if edit.present is None else "replaced"
        key, before = edit.change.key, edit.present.next_hop if edit.present else ""
        self._site.log(
            f"azure.route.{verb}",
            table=key.table,
            prefix=key.prefix,
            next_hop=str(edit.address or before),
            before=before,
        )


def _by_table(changes: Sequence[RouteChange]) -> dict[RouteTableRef, list[RouteChange]]:
    parts: dict[RouteTableRef, list[RouteChange]] = {}
    for change in changes:
        parts.setdefault(change.key.table, []).append(change)
    return parts
