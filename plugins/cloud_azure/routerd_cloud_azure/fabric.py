"""The fabric kind `azure`: interfaces that forward, and route tables that lead to our address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Address

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
from routerd.spi import ForeseeingTable, Pacer, PluginContext, Table
from routerd_cloud_azure import metadata
from routerd_cloud_azure.api import Api
from routerd_cloud_azure.client import connect
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.diagnosis import diagnosed
from routerd_cloud_azure.edits import Limit
from routerd_cloud_azure.faults import StaleError
from routerd_cloud_azure.metadata import Identity
from routerd_cloud_azure.resources import Interface
from routerd_cloud_azure.routes import RoutesTable

_ATTEMPTS = 4
"""How often a read-modify-write is tried again when somebody else writes in between."""

CALLS_PER_SECOND = 3.0
BURST = 50
"""Below what Microsoft.Network takes of a subscription, 1,000 writes in 5 minutes in each region, even if
all were writes ("Understand how Azure Resource Manager throttles requests", "Network throttling")."""

DEFAULT_LIMIT = Limit(
    routes=1000,
    source="the default; grant Microsoft.Network/locations/usages/read or set routesPerRouteTable",
)
"""Routes of a table by default ("Azure subscription and service limits": 1,000 since spring 2026). A
subscription that still has 400 refuses the 401st route, and the message names the limit."""


class AzureFabric:
    """One virtual network as seen from our own instance in it."""

    def __init__(
        self,
        ctx: PluginContext,
        options: AzureOptions,
        *,
        connector: Callable[[str, str, Pacer], Awaitable[Api]] = connect,
        identify: Callable[[], Awaitable[Identity]] = metadata.identify,
    ) -> None:
        self._ctx = ctx
        self._options = options
        self._connector = connector
        self._identify = identify
        self._identity: Identity | None = None
        self._api: Api | None = None
        self._interfaces: tuple[Interface, ...] = ()
        self._told: Limit | None = None
        self._nobody: tuple[str, ...] = ()
        self.known: InstanceFacts | None = None
        self.others: frozenset[str] = frozenset()
        self.forwarding: Table[NicRef, Forwarding] = _ForwardingTable(self)
        self.routes: ForeseeingTable[FabricRouteKey, FabricRoute] = RoutesTable(self)

    def share(self, next_hops: frozenset[str]) -> None:
        """Be told the private addresses of the other routers of the site.

        What is no address is reported by `start`.
        """
        self._nobody = tuple(sorted(each for each in next_hops if not _is_address(each)))
        self.others = next_hops - set(self._nobody)

    async def start(self) -> None:
        """Ask who we are and import the SDK; no request to the API yet."""
        if self._nobody:
            raise PermanentError(
                f"azure: {', '.join(self._nobody)} is no address of a router; takeoverFrom needs the other "
                "router's private address"
            )
        options = self._options
        if not (options.subscription_id and options.instance_id and options.network_interfaces):
            self._identity = await self._identify()
        subscription = options.subscription_id or (self._identity.subscription if self._identity else "")
        pacer = self._ctx.pacing(subscription, rate=CALLS_PER_SECOND, burst=BURST)
        api = await self._connector(subscription, options.client_id, pacer)
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
        interfaces = await self.interfaces()
        chosen = self._options.route_tables
        if chosen is None:
            found = (await self.associated(interfaces)).values()
            if not any(found):
                raise PermanentError(
                    f"azure subnet {interfaces[0].subnet}: has no route table, so nothing can lead to us; "
                    "associate one, or set routeTables (an empty list for none)"
                )
            # Azure does not always write one ID in one way, and a table must not be kept twice.
            chosen = tuple({ref.lower(): ref for ref in found if ref}.values())
        self._interfaces = interfaces
        self.known = InstanceFacts(
            provider="azure",
            instance=self.machine,
            nics=tuple(
                Nic(ref=NicRef(each.ref), address=each.address, subnet=each.subnet, primary=index == 0)
                for index, each in enumerate(interfaces)
            ),
            next_hop=str(interfaces[0].address),
            route_tables=tuple(RouteTableRef(ref) for ref in chosen),
        )
        return self.known

    async def diagnose(self) -> Sequence[Finding]:
        """Return what of permissions, interfaces and route tables was checked; changes nothing."""
        self._interfaces = await self.interfaces()
        await self.ask_limit()
        return await diagnosed(self, self._interfaces)

    @property
    def machine(self) -> str:
        """Return the resource ID of our VM."""
        return self._options.instance_id or (self._identity.instance if self._identity else "")

    async def interfaces(self) -> tuple[Interface, ...]:
        """Return our network interfaces, the one that routes lead to first."""
        options = self._options
        if options.network_interfaces:
            return tuple([await self.api.interface(ref) for ref in options.network_interfaces])
        group = options.resource_group or (self._identity.group if self._identity else "")
        interfaces = await self.api.interfaces_of(group, self.machine)
        if not interfaces:
            raise PermanentError(
                f"azure networkInterfaces in {group}: none belongs to {self.machine}; set resourceGroup "
                "to the one that they are in, or networkInterfaces"
            )
        return interfaces

    async def associated(self, interfaces: Sequence[Interface]) -> dict[str, str | None]:
        """Return the route table of each subnet that interfaces are in."""
        subnets = dict.fromkeys(each.subnet for each in interfaces)
        return {subnet: await self.api.route_table_of(subnet) for subnet in subnets}

    @property
    def chosen_tables(self) -> tuple[str, ...] | None:
        """Return the route tables that the options name, none when they leave it to us."""
        return self._options.route_tables

    @property
    def limit(self) -> Limit:
        """Return how many routes a table may hold: of the options, as Azure says, or by default."""
        if self._options.routes_per_route_table:
            return Limit(routes=self._options.routes_per_route_table, source="set by routesPerRouteTable")
        return self._told or DEFAULT_LIMIT

    async def ask_limit(self) -> None:
        """Ask Azure once how many routes a table may hold; until it tells, the default holds."""
        if self._options.routes_per_route_table or self._told is not None or not self._interfaces:
            return
        try:
            routes = await self.api.routes_limit(self._interfaces[0].location)
        except TransientError as error:
            self._ctx.log.warning("azure.limit.unknown", reason=str(error))
        except ProviderError as error:
            self._ctx.log.info("azure.limit.unknown", reason=str(error))
            self._told = DEFAULT_LIMIT
        else:
            self._told = (
                Limit(routes=routes, source="the limit of the subscription") if routes else DEFAULT_LIMIT
            )

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        if self._api is None:
            raise TransientError("azure: not started yet")
        return self._api

    async def facts(self) -> InstanceFacts:
        """Return what `instance` last found."""
        return self.known or await self.instance()

    def refuse_dry_run(self) -> None:
        """Raise when nothing may be changed."""
        if self._ctx.read_only:
            raise TransientError("azure: nothing is changed in a dry run")

    def log(self, event: str, **facts: object) -> None:
        """Log a change that was made."""
        self._ctx.log.info(event, **facts)


def _is_address(text: str) -> bool:
    try:
        return str(IPv4Address(text)) == text
    except ValueError:
        return False


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
