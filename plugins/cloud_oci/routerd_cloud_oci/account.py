"""The account that the parts of the fabric share: API, options, facts, and the plugin's context."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from routerd.errors import PermanentError, TransientError
from routerd.model.fabric import InstanceFacts, Nic, NicRef, RouteTableRef
from routerd.spi import PluginContext
from routerd_cloud_oci.client import Client, connect
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.metadata import Identity


class Account:
    """Our tenancy and VCN as seen from our own instance.

    `known` is what `find` last found, and `others` are the OCIDs of the private IPs of the site's
    other routers.
    """

    def __init__(
        self, ctx: PluginContext, options: OciOptions, identify: Callable[[], Awaitable[Identity]]
    ) -> None:
        self.ctx = ctx
        self.options = options
        self.identity: Identity | None = None
        self.known: InstanceFacts | None = None
        self.others: frozenset[str] = frozenset()
        self._identify = identify
        self._api: Client | None = None

    @property
    def api(self) -> Client:
        """Return the API; raises `TransientError` before `open`."""
        if self._api is None:
            raise TransientError("oci: not started yet")
        return self._api

    def share(self, next_hops: frozenset[str]) -> None:
        """Take the OCIDs of the private IPs of the site's other routers."""
        self.others = next_hops

    async def open(self) -> None:
        """Ask the metadata service where the options leave something open, and get credentials."""
        options = self.options
        if not (options.vnics and (options.region or options.auth == "config_file")):
            self.identity = await self._identify()
        region = options.region or (self.identity.region if self.identity else "")
        await self.close()
        self._api = await connect(options, region, self.ctx.pacing)

    async def close(self) -> None:
        """Close the connections."""
        api, self._api = self._api, None
        if api is not None:
            await api.aclose()

    def vnics(self) -> Sequence[str]:
        """Return the OCIDs of our VNICs; raises `PermanentError` when there are none."""
        refs = self.options.vnics or (self.identity.vnics if self.identity else ())
        if not refs:
            raise PermanentError("oci: the instance has no VNIC; set vnics")
        return refs

    async def facts(self) -> InstanceFacts:
        """Return what `find` last found."""
        return self.known or await self.find()

    async def find(self) -> InstanceFacts:
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
        self.known = InstanceFacts(
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
        return self.known
