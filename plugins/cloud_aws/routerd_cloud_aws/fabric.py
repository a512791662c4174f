"""The fabric kind `aws`: interfaces that forward, and route tables that lead to our interface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Network

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.fabric import (
    FabricRoute,
    FabricRouteKey,
    Forwarding,
    InstanceFacts,
    Nic,
    NicRef,
    RouteTableRef,
)
from routerd.spi import PluginContext, Table
from routerd_cloud_aws import metadata
from routerd_cloud_aws.client import Api, Route, RouteTable, connect
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.faults import ExistsError, MissingError
from routerd_cloud_aws.metadata import Identity

RouteChange = Change[FabricRouteKey, FabricRoute]


class AwsFabric:
    """One VPC as seen from our own instance in it."""

    def __init__(
        self,
        ctx: PluginContext,
        options: AwsOptions,
        *,
        connector: Callable[[str], Awaitable[Api]] = connect,
        identify: Callable[[], Awaitable[Identity]] = metadata.identify,
    ) -> None:
        self._ctx = ctx
        self._options = options
        self._connector = connector
        self._identify = identify
        self._identity: Identity | None = None
        self._api: Api | None = None
        self._facts: InstanceFacts | None = None
        self.forwarding: Table[NicRef, Forwarding] = _ForwardingTable(self)
        self.routes: Table[FabricRouteKey, FabricRoute] = _RoutesTable(self)

    async def start(self) -> None:
        """Ask who we are and import the SDK; no request to the API yet."""
        options = self._options
        if not (options.region and options.instance_id and options.network_interfaces):
            self._identity = await self._identify()
        api = await self._connector(options.region or (self._identity.region if self._identity else ""))
        await self.aclose()
        self._api = api

    async def aclose(self) -> None:
        """Close the connections; what the cloud holds stays."""
        api, self._api = self._api, None
        if api is not None:
            await api.aclose()

    async def instance(self) -> InstanceFacts:
        """Return our interfaces and the route tables of their subnets.

        A subnet without a table of its own uses the VPC's main table (Amazon VPC User Guide,
        "Subnet route tables").
        """
        identity, options = self._identity, self._options
        refs = options.network_interfaces or (identity.interfaces if identity else ())
        if not refs:
            raise PermanentError("aws: the instance has no network interfaces; set networkInterfaces")
        interfaces = await self.api.interfaces(refs)
        vpcs = tuple(dict.fromkeys(each.vpc for each in interfaces))
        networks = [network for vpc in vpcs for network in await self.api.networks(vpc)]
        chosen = options.route_tables
        if chosen is None:
            tables = [table for vpc in vpcs for table in await self.api.tables_of(vpc)]
            subnets = dict.fromkeys((each.subnet, each.vpc) for each in interfaces)
            mains = {table.ref for table in tables if table.main}
            own = [table.ref for subnet, _ in subnets for table in tables if subnet in table.subnets]
            bare = [subnet for subnet, _ in subnets if not any(subnet in table.subnets for table in tables)]
            chosen = tuple(dict.fromkeys([*own, *sorted(mains)])) if bare else tuple(dict.fromkeys(own))
        self._facts = InstanceFacts(
            provider="aws",
            instance=options.instance_id or (identity.instance if identity else ""),
            nics=tuple(
                Nic(ref=NicRef(each.ref), address=each.address, subnet=each.subnet, primary=index == 0)
                for index, each in enumerate(interfaces)
            ),
            next_hop=interfaces[0].ref,
            route_tables=tuple(RouteTableRef(ref) for ref in chosen),
            networks=tuple(networks),
        )
        return self._facts

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        if self._api is None:
            raise TransientError("aws: not started yet")
        return self._api

    async def facts(self) -> InstanceFacts:
        """Return what `instance` last found."""
        return self._facts or await self.instance()

    def refuse_dry_run(self) -> None:
        """Raise when nothing may be changed."""
        if self._ctx.read_only:
            raise TransientError("aws: nothing is changed in a dry run")

    def log(self, event: str, **facts: object) -> None:
        """Log a change that was made."""
        self._ctx.log.info(event, **facts)


class _ForwardingTable:
    """`SourceDestCheck` of our own interfaces, inverted."""

    def __init__(self, fabric: AwsFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        refs = [nic.ref for nic in (await self._fabric.facts()).nics]
        return {
            NicRef(each.ref): Forwarding(enabled=each.forwarding)
            for each in await self._fabric.api.interfaces(refs)
        }

    async def apply(self, changes: Sequence[Change[NicRef, Forwarding]]) -> Mapping[NicRef, ProviderError]:
        failures: dict[NicRef, ProviderError] = {}
        for change in changes:
            # The switch cannot be deleted, only set; a deletion leaves it alone.
            if change.after is None:
                continue
            try:
                await self._set(change.key, change.after.enabled)
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _set(self, nic: NicRef, enabled: bool) -> None:
        self._fabric.refuse_dry_run()
        if nic not in {each.ref for each in (await self._fabric.facts()).nics}:
            raise NotOwnedError(f"aws interface {nic}: does not belong to this instance")
        (present,) = await self._fabric.api.interfaces([nic])
        if present.forwarding != enabled:
            await self._fabric.api.set_forwarding(nic, enabled)
            self._fabric.log("aws.forwarding.set", interface=nic, enabled=enabled)


class _RoutesTable:
    """The routes in our route tables that lead to our interface."""

    def __init__(self, fabric: AwsFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        facts = await self._fabric.facts()
        if not facts.route_tables:
            return {}
        return {
            FabricRouteKey(table=RouteTableRef(table.ref), prefix=route.prefix): FabricRoute(
                next_hop=route.target
            )
            for table in await self._fabric.api.tables(facts.route_tables)
            for route in table.routes
            # A blackhole that leads to our interface is ours too: it was made while we were stopped.
            if route.target == facts.next_hop
        }

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        failures: dict[FabricRouteKey, ProviderError] = {}
        by_table: dict[RouteTableRef, list[RouteChange]] = {}
        for change in changes:
            by_table.setdefault(change.key.table, []).append(change)
        for ref, part in by_table.items():
            try:
                self._fabric.refuse_dry_run()
                present = await self._read(ref)
            except ProviderError as error:
                failures |= {change.key: error for change in part}
                continue
            for change in part:
                try:
                    await self._change(change, present)
                except ProviderError as error:
                    failures[change.key] = error
        return failures

    async def _read(self, ref: RouteTableRef) -> RouteTable:
        facts = await self._fabric.facts()
        if ref not in facts.route_tables:
            raise NotOwnedError(
                f"aws route table {ref}: is none of this instance's; set routeTables to use it"
            )
        (table,) = await self._fabric.api.tables([ref])
        return table

    async def _change(self, change: RouteChange, table: RouteTable) -> None:
        facts, key = await self._fabric.facts(), change.key
        if change.after is None:
            await self._delete(key, facts.next_hop)
            return
        if change.after.next_hop != facts.next_hop:
            raise PermanentError(
                f"aws route {key.prefix} in {key.table}: {change.after.next_hop} is not our interface "
                f"{facts.next_hop}"
            )
        for network in facts.networks:
            if key.prefix.subnet_of(network):
                raise UnsupportedError(
                    f"aws route {key.prefix} in {key.table}: lies within {network}, the VPC's own prefix, "
                    "where AWS routes nothing smaller than a subnet; use addresses outside of it"
                )
        if self._settled(table, key, facts.next_hop):
            return
        try:
            await self._fabric.api.create_route(key.table, key.prefix, facts.next_hop)
        except ExistsError:
            # Somebody was quicker. Whoever it was, the table now says.
            if not self._settled(await self._read(key.table), key, facts.next_hop):
                raise
            return
        self._fabric.log("aws.route.created", table=key.table, prefix=key.prefix, interface=facts.next_hop)

    async def _delete(self, key: FabricRouteKey, next_hop: str) -> None:
        """Delete the route if, read right before, it still leads to us; EC2 has no condition for it."""
        route = _find(await self._read(key.table), key.prefix)
        if route is None:
            return
        if route.target != next_hop:
            raise _foreign(key, route)
        try:
            await self._fabric.api.delete_route(key.table, key.prefix)
        except MissingError:
            return
        self._fabric.log("aws.route.deleted", table=key.table, prefix=key.prefix, interface=next_hop)

    @staticmethod
    def _settled(table: RouteTable, key: FabricRouteKey, next_hop: str) -> bool:
        """Say whether the route stands already; raises `NotOwnedError` when a foreign one does."""
        route = _find(table, key.prefix)
        if route is not None and route.target != next_hop:
            raise _foreign(key, route)
        return route is not None


def _find(table: RouteTable, prefix: IPv4Network) -> Route | None:
    return next((route for route in table.routes if route.prefix == prefix), None)


def _foreign(key: FabricRouteKey, route: Route) -> NotOwnedError:
    state = " (a blackhole)" if route.blackhole else ""
    return NotOwnedError(
        f"aws route {key.prefix} in {key.table}: leads to {route.target}{state}, which is not ours; "
        "remove it or leave the prefix out"
    )
