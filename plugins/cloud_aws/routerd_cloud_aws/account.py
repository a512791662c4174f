"""What the parts of the fabric share: the API, our instance in the VPC, the quota, and the context."""

from routerd.errors import PermanentError
from routerd.model.fabric import InstanceFacts, Nic, NicRef, RouteTableRef
from routerd.spi import PluginContext
from routerd.spi.cloud.account import CloudAccount
from routerd_cloud_aws import metadata
from routerd_cloud_aws.client import Client, connect
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.inventory import tables_of_subnets
from routerd_cloud_aws.judge import Site
from routerd_cloud_aws.limits import RouteQuota
from routerd_cloud_aws.metadata import Identity

_RATE, _BURST = 4.0, 25
"""Calls of one router. EC2 gives an account and region, for each changing action, 50 calls at once and 5 a
second, and more for reading ones (Amazon EC2 Developer Guide, "Request throttling"); others need some too."""


class Account(CloudAccount[Client]):
    """One VPC as seen from our own instance in it; routes name routers by their interface, `eni-...`."""

    cloud = "aws"

    def __init__(self, ctx: PluginContext, options: AwsOptions) -> None:
        super().__init__(ctx)
        self.options = options
        self.quota = RouteQuota(ctx.clock, options.route_quota)
        self._identity: Identity | None = None

    async def connect(self) -> Client:
        """Ask the metadata service who we are and import the SDK; no request to the API yet."""
        options = self.options
        if not (options.region and options.instance_id and options.network_interfaces):
            self._identity = await metadata.identify()
        identity = self._identity
        region = options.region or (identity.region if identity else "")
        # Without the metadata service the account is the one of the credentials.
        account = f"{identity.account if identity else 'ambient'}/{region}"
        return await connect(region, self.ctx.pacing(account, rate=_RATE, burst=_BURST))

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Return our interfaces, the first one the target of routes; `PermanentError` without any."""
        refs = self.options.network_interfaces or (self._identity.interfaces if self._identity else ())
        if not refs:
            raise PermanentError("aws: the instance has no network interfaces; set networkInterfaces")
        return refs

    async def discover(self) -> InstanceFacts:
        """Look up our interfaces, the prefixes of their VPC, and the route tables of their subnets."""
        identity, options = self._identity, self.options
        interfaces = await self.api.interfaces(self.interfaces)
        vpcs = tuple(dict.fromkeys(each.vpc for each in interfaces))
        networks = [network for vpc in vpcs for network in await self.api.networks(vpc)]
        chosen = options.route_tables
        if chosen is None:
            tables = [table for vpc in vpcs for table in await self.api.tables_of(vpc)]
            chosen = tables_of_subnets(tables, dict.fromkeys(each.subnet for each in interfaces))
        return InstanceFacts(
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

    async def site(self) -> Site:
        """Return our instance in its VPC, as `find` found it last."""
        return self.site_of(await self.facts())

    def site_of(self, facts: InstanceFacts) -> Site:
        """Return our instance in its VPC."""
        return Site(facts=facts, routers=self.routers(facts))
