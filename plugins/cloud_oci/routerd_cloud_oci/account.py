"""The account that the parts of the fabric share: API, options, facts, and the plugin's context."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from routerd.errors import PermanentError
from routerd.model.fabric import InstanceFacts, Nic, NicRef, RouteTableRef
from routerd.spi import PluginContext
from routerd.spi.cloud.account import CloudAccount
from routerd_cloud_oci.client import Client, connect
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.metadata import Identity


class Account(CloudAccount[Client]):
    """Our tenancy and VCN as seen from our own instance; routes name routers by their private IP's OCID."""

    cloud = "oci"

    def __init__(
        self, ctx: PluginContext, options: OciOptions, identify: Callable[[], Awaitable[Identity]]
    ) -> None:
        super().__init__(ctx)
        self.options = options
        self.identity: Identity | None = None
        self._identify = identify

    async def connect(self) -> Client:
        """Ask the metadata service where the options leave something open, and get credentials."""
        options = self.options
        if not (options.vnics and (options.region or options.auth == "config_file")):
            self.identity = await self._identify()
        region = options.region or (self.identity.region if self.identity else "")
        return await connect(options, region, self.ctx.pacing)

    def vnics(self) -> Sequence[str]:
        """Return the OCIDs of our VNICs; raises `PermanentError` when there are none."""
        refs = self.options.vnics or (self.identity.vnics if self.identity else ())
        if not refs:
            raise PermanentError("oci: the instance has no VNIC; set vnics")
        return refs

    async def discover(self) -> InstanceFacts:
        """Read our VNICs, the route tables of their subnets, and the OCID of our primary private IP."""
        api = self.api
        vnics = [await api.vnic(ref) for ref in self.vnics()]
        subnets = [await api.subnet(ref) for ref in dict.fromkeys(vnic.subnet for vnic in vnics)]
        networks = [
            network
            for vcn in dict.fromkeys(subnet.vcn for subnet in subnets)
            for network in await api.vcn_networks(vcn)
        ]
        primary = next((vnic for vnic in vnics if vnic.primary), vnics[0])
        instance = (
            self.identity.instance
            if self.identity
            else await api.instance_of(primary.ref, primary.compartment)
        )
        tables: Iterable[str] | None = self.options.route_tables
        if tables is None:
            tables = dict.fromkeys(subnet.route_table for subnet in subnets)
        return InstanceFacts(
            provider="oci",
            instance=instance,
            nics=tuple(
                Nic(ref=NicRef(vnic.ref), address=vnic.address, subnet=vnic.subnet, primary=vnic is primary)
                for vnic in vnics
            ),
            next_hop=await api.primary_private_ip(primary.ref),
            route_tables=tuple(RouteTableRef(ref) for ref in tables),
            networks=tuple(networks),
        )
