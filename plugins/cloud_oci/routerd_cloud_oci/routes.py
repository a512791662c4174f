"""The table `routes`: the rules in our route tables that lead to a router of the site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routerd.errors import NotOwnedError, PermanentError, ProviderError
from routerd.model.fabric import FabricRoute, FabricRouteKey, InstanceFacts, RouteTableRef
from routerd_cloud_oci.faults import DeniedError, FullError, RejectedError, StaleError
from routerd_cloud_oci.owner import ATTEMPTS, Owner
from routerd_cloud_oci.rules import PRIVATE_IP, RouteChange, RouteTable, Site, destination, merge


class RoutesTable:
    """One read for each route table to observe; a read and a write for all changes of a table."""

    def __init__(self, fabric: Owner) -> None:
        self._fabric = fabric
        self._seen: dict[str, RouteTable] = {}
        self._blockers: frozenset[str] = frozenset()
        self._gone: frozenset[str] = frozenset()

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return the rules that lead to us or to another router of the site."""
        facts = await self._fabric.facts()
        site = self._site(facts)
        found: dict[FabricRouteKey, FabricRoute] = {}
        seen: dict[str, RouteTable] = {}
        for ref in facts.route_tables:
            seen[ref] = table = await self._fabric.api.route_table(ref)
            for rule in table.rules:
                prefix, hop = destination(rule), site.router(rule)
                if prefix is not None and hop:
                    found[FabricRouteKey(table=ref, prefix=prefix)] = FabricRoute(next_hop=hop)
        self._seen = seen
        await self._look_for_blackholes()
        return found

    async def _look_for_blackholes(self) -> None:
        """Find out which private IPs that stood in the way are there no more; an OCID never comes back."""
        for target in sorted(self._blockers - self._gone):
            if target.startswith(PRIVATE_IP):
                try:
                    await self._fabric.api.private_ip(target)
                except DeniedError:
                    self._gone |= {target}
                except ProviderError:
                    # It is only for the words; the next reading asks again.
                    return

    def foresee(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Return which changes would be refused, by the rules that `observe` read."""
        facts = self._fabric.known
        if facts is None:
            return {}
        failures: dict[FabricRouteKey, ProviderError] = {}
        blockers: set[str] = set()
        for ref, part in _by_table(changes).items():
            if ref not in facts.route_tables:
                failures |= dict.fromkeys((change.key for change in part), _not_ours(ref))
            elif ref in self._seen:
                merged = merge(self._seen[ref], part, self._site(facts))
                failures |= merged.failures
                blockers |= merged.blockers
        self._blockers = frozenset(blockers)
        return failures

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Make the changes of each table in one write, under the ETag of a fresh read."""
        failures: dict[FabricRouteKey, ProviderError] = {}
        for ref, part in _by_table(changes).items():
            failures |= await self._write(ref, part)
        return failures

    async def _write(
        self, ref: RouteTableRef, changes: Sequence[RouteChange]
    ) -> Mapping[FabricRouteKey, ProviderError]:
        """Write the changes of one table in one request; halve them when the request is rejected."""
        try:
            return await self._merge(ref, changes)
        except RejectedError as error:
            if len(changes) == 1:
                return {changes[0].key: error}
            middle = len(changes) // 2
            first = await self._write(ref, changes[:middle])
            full = next((each for each in first.values() if isinstance(each, FullError)), None)
            if full is not None:
                # What follows are creations too, and there is room for none of them.
                return {**first, **{change.key: full for change in changes[middle:]}}
            return {**first, **await self._write(ref, changes[middle:])}
        except ProviderError as error:
            return {change.key: error for change in changes}

    async def _merge(
        self, ref: RouteTableRef, changes: Sequence[RouteChange]
    ) -> Mapping[FabricRouteKey, ProviderError]:
        self._fabric.refuse_dry_run()
        facts = await self._fabric.facts()
        if ref not in facts.route_tables:
            raise _not_ours(ref)
        attempt = 0
        while True:
            table = await self._fabric.api.route_table(ref)
            merged = merge(table, changes, self._site(facts))
            if merged.rules == table.rules:
                return merged.failures
            if not table.etag:
                raise PermanentError(
                    f"oci route table {ref}: the answer had no ETag, without which a write could undo what "
                    "others write; see what takes it out, such as a proxy"
                )
            try:
                await self._fabric.api.replace_rules(ref, merged.rules, table.etag)
            except StaleError:
                attempt += 1
                if attempt == ATTEMPTS:
                    raise
                # Another writer is at work; let it finish. Grows, so that two of us part ways.
                await self._fabric.pause(0.05 * 2**attempt)
            else:
                self._fabric.log(
                    "oci.routes.written", table=ref, rules=len(merged.rules), before=len(table.rules)
                )
                return merged.failures

    def _site(self, facts: InstanceFacts) -> Site:
        return Site(
            next_hop=facts.next_hop,
            others=self._fabric.others,
            networks=facts.networks,
            limit=self._fabric.limit,
            gone=self._gone,
        )


def _by_table(changes: Sequence[RouteChange]) -> Mapping[RouteTableRef, Sequence[RouteChange]]:
    parts: dict[RouteTableRef, list[RouteChange]] = {}
    # Deletions first: where a table is full they make room.
    for change in sorted(changes, key=lambda each: each.after is not None):
        parts.setdefault(change.key.table, []).append(change)
    return parts


def _not_ours(ref: RouteTableRef) -> NotOwnedError:
    return NotOwnedError(f"oci route table {ref}: is none of this instance's; set routeTables to use it")
