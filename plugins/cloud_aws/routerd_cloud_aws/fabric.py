"""The fabric kind `aws`: interfaces that forward, and route tables that lead to our interface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import (
    FabricRoute,
    FabricRouteKey,
    Finding,
    Forwarding,
    InstanceFacts,
    Nic,
    NicRef,
    RouteTableRef,
)
from routerd.spi import Clock, ForeseeingTable, Pacer, PluginContext, Table
from routerd_cloud_aws import metadata
from routerd_cloud_aws.client import Api, connect
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.diagnosis import examine
from routerd_cloud_aws.metadata import Identity
from routerd_cloud_aws.quota import RouteQuota
from routerd_cloud_aws.routes import RoutesTable
from routerd_cloud_aws.verdict import Site

_RATE, _BURST = 4.0, 25
"""Calls of one router. EC2 gives an account and region, for each changing action, 50 calls at once and 5 a
second, and more for reading ones (Amazon EC2 Developer Guide, "Request throttling"); others need some too."""


class AwsFabric:
    """One VPC as seen from our own instance in it."""

    def __init__(
        self,
        ctx: PluginContext,
        options: AwsOptions,
        *,
        connector: Callable[[str, Pacer], Awaitable[Api]] = connect,
        identify: Callable[[], Awaitable[Identity]] = metadata.identify,
    ) -> None:
        self._ctx = ctx
        self._options = options
        self._connector = connector
        self._identify = identify
        self._identity: Identity | None = None
        self._api: Api | None = None
        self._others: frozenset[str] = frozenset()
        self.known_site: Site | None = None
        self.quota = RouteQuota(ctx.clock, options.route_quota)
        self.forwarding: Table[NicRef, Forwarding] = _ForwardingTable(self)
        self.routes: ForeseeingTable[FabricRouteKey, FabricRoute] = RoutesTable(self)

    def share(self, next_hops: frozenset[str]) -> None:
        """Be told the interfaces, `eni-...`, to which the site's other routers have routes lead."""
        self._others = next_hops

    async def start(self) -> None:
        """Ask who we are and import the SDK; no request to the API yet."""
        options = self._options
        if not (options.region and options.instance_id and options.network_interfaces):
            self._identity = await self._identify()
        identity = self._identity
        region = options.region or (identity.region if identity else "")
        # Without the metadata service the account is that of the credentials, whichever it is.
        account = f"{identity.account if identity else 'ambient'}/{region}"
        api = await self._connector(region, self._ctx.pacing(account, rate=_RATE, burst=_BURST))
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
        interfaces = await self.api.interfaces(self.interface_refs())
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
        facts = InstanceFacts(
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
        self.known_site = Site(facts=facts, others=self._others - {facts.next_hop})
        return facts

    async def diagnose(self) -> Sequence[Finding]:
        """Return what was found of permissions, route tables and quota."""
        return await examine(self)

    def interface_refs(self) -> tuple[str, ...]:
        """Return our interfaces, the first one the target of routes; raises `PermanentError` without any."""
        refs = self._options.network_interfaces or (self._identity.interfaces if self._identity else ())
        if not refs:
            raise PermanentError("aws: the instance has no network interfaces; set networkInterfaces")
        return refs

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        if self._api is None:
            raise TransientError("aws: not started yet")
        return self._api

    @property
    def options(self) -> AwsOptions:
        """Return the options."""
        return self._options

    @property
    def clock(self) -> Clock:
        """Return the clock."""
        return self._ctx.clock

    async def site(self) -> Site:
        """Return what `instance` last found."""
        if self.known_site is None:
            await self.instance()
        assert self.known_site is not None  # noqa: S101 - `instance` sets it or raises
        return self.known_site

    async def facts(self) -> InstanceFacts:
        """Return what `instance` last found."""
        return (await self.site()).facts

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
