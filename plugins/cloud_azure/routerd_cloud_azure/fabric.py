"""The fabric kind `azure`: interfaces that forward, and route tables that lead to our address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
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
from routerd_cloud_azure import metadata
from routerd_cloud_azure.client import Api, Route, connect
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.faults import MissingError, RejectedError, StaleError
from routerd_cloud_azure.metadata import Identity

RouteChange = Change[FabricRouteKey, FabricRoute]

_ATTEMPTS = 4
"""How often a read-modify-write is tried again when somebody else writes in between."""


class AzureFabric:
    """One virtual network as seen from our own instance in it."""

    def __init__(
        self,
        ctx: PluginContext,
        options: AzureOptions,
        *,
        connector: Callable[[str, str], Awaitable[Api]] = connect,
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
        if not (options.subscription_id and options.instance_id and options.network_interfaces):
            self._identity = await self._identify()
        subscription = options.subscription_id or (self._identity.subscription if self._identity else "")
        api = await self._connector(subscription, options.client_id)
        await self.aclose()
        self._api = api

    async def aclose(self) -> None:
        """Close the connections; what the cloud holds stays."""
        api, self._api = self._api, None
        if api is not None:
            await api.aclose()

    async def instance(self) -> InstanceFacts:
        """Return our interfaces and the route tables of their subnets.

        Azure routes prefixes of the virtual network itself too, so `networks` is empty.
        """
        identity, options = self._identity, self._options
        instance = options.instance_id or (identity.instance if identity else "")
        if options.network_interfaces:
            interfaces = tuple([await self.api.interface(ref) for ref in options.network_interfaces])
        else:
            group = options.resource_group or (identity.group if identity else "")
            interfaces = await self.api.interfaces_of(group, instance)
            if not interfaces:
                raise PermanentError(
                    f"azure networkInterfaces in {group}: none belongs to {instance}; set resourceGroup "
                    "to the one that they are in, or networkInterfaces"
                )
        chosen = options.route_tables
        if chosen is None:
            subnets = dict.fromkeys(each.subnet for each in interfaces)
            found = [await self.api.route_table_of(subnet) for subnet in subnets]
            if not any(found):
                raise PermanentError(
                    f"azure subnet {interfaces[0].subnet}: has no route table, so nothing can lead to us; "
                    "associate one, or set routeTables (an empty list for none)"
                )
            chosen = tuple(dict.fromkeys(ref for ref in found if ref))
        self._facts = InstanceFacts(
            provider="azure",
            instance=instance,
            nics=tuple(
                Nic(ref=NicRef(each.ref), address=each.address, subnet=each.subnet, primary=index == 0)
                for index, each in enumerate(interfaces)
            ),
            next_hop=str(interfaces[0].address),
            route_tables=tuple(RouteTableRef(ref) for ref in chosen),
        )
        return self._facts

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        if self._api is None:
            raise TransientError("azure: not started yet")
        return self._api

    async def facts(self) -> InstanceFacts:
        """Return what `instance` last found."""
        return self._facts or await self.instance()

    def refuse_dry_run(self) -> None:
        """Raise when nothing may be changed."""
        if self._ctx.read_only:
            raise TransientError("azure: nothing is changed in a dry run")

    def log(self, event: str, **facts: object) -> None:
        """Log a change that was made."""
        self._ctx.log.info(event, **facts)


class _ForwardingTable:
    """`enableIPForwarding` of our own interfaces."""

    def __init__(self, fabric: AzureFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        facts = await self._fabric.facts()
        return {
            nic.ref: Forwarding(enabled=(await self._fabric.api.interface(nic.ref)).forwarding)
            for nic in facts.nics
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
            raise NotOwnedError(f"azure interface {nic}: does not belong to this instance")
        for attempt in range(_ATTEMPTS):
            present = await self._fabric.api.interface(nic)
            if present.forwarding == enabled:
                return
            try:
                await self._fabric.api.set_forwarding(present, enabled)
            except StaleError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                self._fabric.log("azure.forwarding.set", interface=nic, enabled=enabled)
                return


class _RoutesTable:
    """The routes in our route tables that lead to our address."""

    def __init__(self, fabric: AzureFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        facts = await self._fabric.facts()
        return {
            FabricRouteKey(table=table, prefix=route.prefix): FabricRoute(next_hop=facts.next_hop)
            for table in facts.route_tables
            for route in await self._fabric.api.routes(table)
            if _ours(route, facts.next_hop)
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
            # One after the other: Azure works on a table one operation at a time and refuses a second.
            for change in part:
                try:
                    await self._change(change, present)
                except ProviderError as error:
                    failures[change.key] = error
        return failures

    async def _read(self, ref: RouteTableRef) -> tuple[Route, ...]:
        facts = await self._fabric.facts()
        if ref not in facts.route_tables:
            raise NotOwnedError(
                f"azure route table {ref}: is none of this instance's; set routeTables to use it"
            )
        return await self._fabric.api.routes(ref)

    async def _change(self, change: RouteChange, present: Sequence[Route]) -> None:
        facts, key = await self._fabric.facts(), change.key
        if change.after is None:
            await self._delete(key, facts.next_hop)
            return
        if change.after.next_hop != facts.next_hop:
            raise PermanentError(
                f"azure route {key.prefix} in {key.table}: {change.after.next_hop} is not our address "
                f"{facts.next_hop}"
            )
        if _settled(present, key, facts.next_hop):
            return
        name = route_name(key.prefix)
        try:
            await self._fabric.api.put_route(key.table, name, key.prefix, IPv4Address(facts.next_hop))
        except RejectedError:
            # Perhaps somebody was quicker. Whoever it was, the table now says.
            if not _settled(await self._read(key.table), key, facts.next_hop):
                raise
            return
        self._fabric.log("azure.route.created", table=key.table, prefix=key.prefix, next_hop=facts.next_hop)

    async def _delete(self, key: FabricRouteKey, next_hop: str) -> None:
        """Delete the route if, read right before, it still leads to us; the ETag guards the rest."""
        route = next((each for each in await self._read(key.table) if each.prefix == key.prefix), None)
        if route is None:
            return
        if not _ours(route, next_hop):
            raise _foreign(key, route)
        try:
            await self._fabric.api.delete_route(key.table, route.name, route.etag)
        except MissingError:
            return
        self._fabric.log("azure.route.deleted", table=key.table, prefix=key.prefix, next_hop=next_hop)


def route_name(prefix: IPv4Network) -> str:
    """Return the name under which we make the route to a prefix, such as `routerd-10-81-10-20-32`."""
    return f"routerd-{str(prefix).replace('.', '-').replace('/', '-')}"


def _ours(route: Route, next_hop: str) -> bool:
    return route.hop == "VirtualAppliance" and str(route.address) == next_hop


def _settled(routes: Sequence[Route], key: FabricRouteKey, next_hop: str) -> bool:
    """Say whether the route stands already; raises `NotOwnedError` when a foreign one is in the way."""
    name = route_name(key.prefix)
    for route in routes:
        if route.prefix == key.prefix:
            if not _ours(route, next_hop):
                raise _foreign(key, route)
            return True
        # A write goes by name and would replace it, whatever it is.
        if route.name.lower() == name and not _ours(route, next_hop):
            raise _foreign(key, route)
    return False


def _foreign(key: FabricRouteKey, route: Route) -> NotOwnedError:
    target = route.address or route.hop
    return NotOwnedError(
        f"azure route {key.prefix} in {key.table}: {route.name} ({route.prefix}) leads to {target}, "
        "which is not ours; remove it or leave the prefix out"
    )
