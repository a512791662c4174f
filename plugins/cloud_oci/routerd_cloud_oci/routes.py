"""The table `routes`: the rules in our route tables that lead to a router of the site."""

from collections.abc import Mapping, Sequence

from routerd.errors import PermanentError, ProviderError, StaleError
from routerd.model.fabric import FabricRoute, FabricRouteKey, InstanceFacts, RouteTableRef
from routerd.spi.site_routes import RouteChange, by_table, foreign_table
from routerd_cloud_oci.account import Account
from routerd_cloud_oci.faults import DeniedError, FullError, RejectedError
from routerd_cloud_oci.inventory import PRIVATE_IP, RouteTable, destination, target
from routerd_cloud_oci.judge import Site
from routerd_cloud_oci.limits import ATTEMPTS
from routerd_cloud_oci.merge import merge


class RoutesTable:
    """Implements `spi.ForeseeingTable`: one read observes a table, a read and a write change it.

    What complicates this:
    - OCI replaces a table's rules as a whole, under the ETag of what was read. When others write in
      between, the merge starts again from a fresh reading.
    - OCI refuses a whole request for one bad rule. So a rejected request is halved until only the bad rule
      is left out.
    - A foreign rule whose private IP is gone drops traffic, and the table does not show that. A private IP
      that stood in the way is looked up once, after the next reading.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._seen: dict[str, RouteTable] = {}
        self._blockers: frozenset[str] = frozenset()
        self._gone: frozenset[str] = frozenset()

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return the rules that lead to us or to another router of the site."""
        facts = await self._account.facts()
        routers = {facts.next_hop, *self._account.others}
        found: dict[FabricRouteKey, FabricRoute] = {}
        seen: dict[str, RouteTable] = {}
        for ref in facts.route_tables:
            seen[ref] = table = await self._account.api.route_table(ref)
            for rule in table.rules:
                prefix, hop = destination(rule), target(rule)
                if prefix is not None and hop in routers:
                    found[FabricRouteKey(table=ref, prefix=prefix)] = FabricRoute(next_hop=hop)
        self._seen = seen
        await self._look_for_blackholes()
        return found

    async def _look_for_blackholes(self) -> None:
        """Look up the private IPs that stood in the way; an OCID that is gone never comes back."""
        for blocker in sorted(self._blockers - self._gone):
            if blocker.startswith(PRIVATE_IP):
                try:
                    await self._account.api.private_ip(blocker)
                except DeniedError:
                    self._gone |= {blocker}
                except ProviderError:
                    # The answer only improves a message; the next reading asks again.
                    return

    def foresee(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Return which changes would be refused, judged by the rules that `observe` read."""
        facts = self._account.known
        if facts is None:
            return {}
        failures: dict[FabricRouteKey, ProviderError] = {}
        blockers: set[str] = set()
        for ref, part in by_table(changes).items():
            if ref not in facts.route_tables:
                failures |= dict.fromkeys((change.key for change in part), foreign_table("oci", ref))
            elif ref in self._seen:
                merged = merge(self._seen[ref], part, self._site(facts))
                failures |= merged.failures
                blockers |= merged.blockers
        self._blockers = frozenset(blockers)
        return failures

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Make the changes of each table in one write, under the ETag of a fresh read."""
        failures: dict[FabricRouteKey, ProviderError] = {}
        for ref, part in by_table(changes).items():
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
                # The second half creates rules too, and the table has no room for any of them.
                return {**first, **{change.key: full for change in changes[middle:]}}
            return {**first, **await self._write(ref, changes[middle:])}
        except ProviderError as error:
            return {change.key: error for change in changes}

    async def _merge(
        self, ref: RouteTableRef, changes: Sequence[RouteChange]
    ) -> Mapping[FabricRouteKey, ProviderError]:
        self._account.ctx.refuse_dry_run()
        facts = await self._account.facts()
        if ref not in facts.route_tables:
            raise foreign_table("oci", ref)
        attempt = 0
        while True:
            table = await self._account.api.route_table(ref)
            merged = merge(table, changes, self._site(facts))
            if merged.rules == table.rules:
                return merged.failures
            if not table.etag:
                raise PermanentError(
                    f"oci route table {ref}: the answer had no ETag; a write without one could undo what "
                    "others write; find what removes it, such as a proxy"
                )
            try:
                await self._account.api.replace_rules(ref, merged.rules, table.etag)
            except StaleError:
                attempt += 1
                if attempt == ATTEMPTS:
                    raise
                # Let the other writer finish. The pause grows, so that two routers drift apart.
                await self._account.ctx.clock.sleep(0.05 * 2**attempt)
            else:
                self._account.ctx.log.info(
                    "oci.routes.written", table=ref, rules=len(merged.rules), before=len(table.rules)
                )
                return merged.failures

    def _site(self, facts: InstanceFacts) -> Site:
        return Site(
            routers=self._account.routers(facts),
            networks=facts.networks,
            limit=self._account.options.route_rules_limit,
            gone=self._gone,
        )
