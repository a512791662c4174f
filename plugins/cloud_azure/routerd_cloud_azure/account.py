"""What the parts of the fabric share: the API, our VM in the network, the limit, and the context."""

from collections.abc import Sequence

from routerd.errors import PermanentError
from routerd.model.fabric import InstanceFacts, Nic, NicRef, RouteTableRef
from routerd.spi import PluginContext
from routerd.spi.cloud.account import CloudAccount, not_addresses
from routerd_cloud_azure import metadata
from routerd_cloud_azure.client import Client, connect
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.inventory import Interface
from routerd_cloud_azure.limits import RouteLimit
from routerd_cloud_azure.metadata import Identity

_RATE, _BURST = 3.0, 50
"""Calls of one router a second, and at once: below what Microsoft.Network takes of a subscription, 1,000
writes in 5 minutes in each region, even if all were writes ("Understand how Azure Resource Manager
throttles requests", "Network throttling")."""


class Account(CloudAccount[Client]):
    """One virtual network as seen from our own VM in it; routes name routers by private address."""

    cloud = "azure"

    def __init__(self, ctx: PluginContext, options: AzureOptions) -> None:
        super().__init__(ctx)
        self.options = options
        self.limit = RouteLimit(ctx.log, options.routes_per_route_table)
        self._identity: Identity | None = None

    async def connect(self) -> Client:
        """Ask the metadata service who we are and import the SDK; no request to the API yet."""
        if wrong := not_addresses(self.others):
            raise PermanentError(
                f"azure takeoverFrom: {', '.join(wrong)} is not an address; list the private "
                "addresses of the other routers"
            )
        options = self.options
        if not (options.subscription_id and options.instance_id and options.network_interfaces):
            self._identity = await metadata.identify()
        subscription = options.subscription_id or (self._identity.subscription if self._identity else "")
        pacer = self.ctx.pacing(subscription, rate=_RATE, burst=_BURST)
        return await connect(subscription, options.client_id, pacer)

    async def discover(self) -> InstanceFacts:
        """Look up our interfaces and the route tables of their subnets.

        Azure routes prefixes of the virtual network itself too, so `networks` is empty.
        """
        interfaces = await self.interfaces()
        chosen = self.options.route_tables
        if chosen is None:
            found = (await self.associated(interfaces)).values()
            if not any(found):
                raise PermanentError(
                    f"azure subnet {interfaces[0].subnet}: has no route table, so nothing can lead to us; "
                    "associate one, or set routeTables (an empty list for none)"
                )
            # Azure does not always write one ID in one way, and two spellings are one table.
            chosen = tuple({ref.lower(): ref for ref in found if ref}.values())
        return InstanceFacts(
            provider="azure",
            instance=self._machine,
            nics=tuple(
                Nic(ref=NicRef(each.ref), address=each.address, subnet=each.subnet, primary=index == 0)
                for index, each in enumerate(interfaces)
            ),
            next_hop=str(interfaces[0].address),
            route_tables=tuple(RouteTableRef(ref) for ref in chosen),
        )

    async def interfaces(self) -> tuple[Interface, ...]:
        """Return our network interfaces, the one that routes lead to first."""
        options = self.options
        if options.network_interfaces:
            found = tuple([await self.api.interface(ref) for ref in options.network_interfaces])
        else:
            group = options.resource_group or (self._identity.group if self._identity else "")
            found = await self.api.interfaces_of(group, self._machine)
            if not found:
                raise PermanentError(
                    f"azure networkInterfaces in {group}: none belongs to {self._machine}; set resourceGroup "
                    "to the one that they are in, or networkInterfaces"
                )
        self.limit.location = found[0].location
        return found

    async def associated(self, interfaces: Sequence[Interface]) -> dict[str, str | None]:
        """Return the route table of each subnet that interfaces are in."""
        subnets = dict.fromkeys(each.subnet for each in interfaces)
        return {subnet: await self.api.route_table_of(subnet) for subnet in subnets}

    @property
    def _machine(self) -> str:
        """Return the resource ID of our VM."""
        return self.options.instance_id or (self._identity.instance if self._identity else "")
