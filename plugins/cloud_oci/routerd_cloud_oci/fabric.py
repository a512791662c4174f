"""The fabric kind `oci`: VNICs that forward, and route tables that lead to our private IP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from routerd.errors import PermanentError, TransientError
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
from routerd.spi import ForeseeingTable, Pacing, PluginContext, Table
from routerd_cloud_oci import metadata
from routerd_cloud_oci.api import Api
from routerd_cloud_oci.client import connect
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.diagnosis import diagnose
from routerd_cloud_oci.forwarding import ForwardingTable
from routerd_cloud_oci.metadata import Identity
from routerd_cloud_oci.routes import RoutesTable


class OciFabric:
    """One VCN as seen from our own instance in it."""

    def __init__(
        self,
        ctx: PluginContext,
        options: OciOptions,
        *,
        connector: Callable[[OciOptions, str, Pacing], Awaitable[Api]] = connect,
        identify: Callable[[], Awaitable[Identity]] = metadata.identify,
    ) -> None:
        self._ctx = ctx
        self._options = options
        self._connector = connector
        self._identify = identify
        self._identity: Identity | None = None
        self._api: Api | None = None
        self.known: InstanceFacts | None = None
        self.others: frozenset[str] = frozenset()
        self.limit = options.route_rules_limit
        self.forwarding: Table[NicRef, Forwarding] = ForwardingTable(self)
        self.routes: ForeseeingTable[FabricRouteKey, FabricRoute] = RoutesTable(self)

    def share(self, next_hops: frozenset[str]) -> None:
        """Be told the OCIDs of the private IPs of the site's other routers."""
        self.others = next_hops

    async def start(self) -> None:
        """Import the SDK and get credentials; no request to the network API yet."""
        options = self._options
        if not (options.vnics and (options.region or options.auth == "config_file")):
            self._identity = await self._identify()
        region = options.region or (self._identity.region if self._identity else "")
        if self._api is not None:
            await self._api.aclose()
        self._api = await self._connector(options, region, self._ctx.pacing)

    async def aclose(self) -> None:
        """Close the connections; what the cloud holds stays."""
        if self._api is not None:
            await self._api.aclose()
            self._api = None

    async def instance(self) -> InstanceFacts:
        """Return our VNICs, the route tables of their subnets, and our primary private IP's OCID."""
        api = self.api
        vnics = [await api.vnic(ref) for ref in self._vnics()]
        subnets = [await api.subnet(ref) for ref in dict.fromkeys(vnic.subnet for vnic in vnics)]
        networks = [
            network
            for vcn in dict.fromkeys(subnet.vcn for subnet in subnets)
            for network in await api.vcn_networks(vcn)
        ]
        primary = next((vnic for vnic in vnics if vnic.primary), vnics[0])
        instance = (
            self._identity.instance
            if self._identity
            else await api.instance_of(primary.ref, primary.compartment)
        )
        tables: Iterable[str] | None = self._options.route_tables
        if tables is None:
            tables = dict.fromkeys(subnet.route_table for subnet in subnets)
        self.known = InstanceFacts(
            provider="oci",
            instance=instance,
            nics=tuple(
                Nic(
                    ref=NicRef(vnic.ref),
                    address=vnic.address,
                    subnet=vnic.subnet,
                    primary=vnic is primary,
                )
                for vnic in vnics
            ),
            next_hop=await api.primary_private_ip(primary.ref),
            route_tables=tuple(RouteTableRef(ref) for ref in tables),
            networks=tuple(networks),
        )
        return self.known

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        if self._api is None:
            raise TransientError("oci: not started yet")
        return self._api

    async def facts(self) -> InstanceFacts:
        """Return what `instance` last found."""
        return self.known or await self.instance()

    def _vnics(self) -> Sequence[str]:
        refs = self._options.vnics or (self._identity.vnics if self._identity else ())
        if not refs:
            raise PermanentError("oci: the instance has no VNIC; set vnics")
        return refs

    async def diagnose(self) -> Sequence[Finding]:
        """Return which permissions we have and whether the network lets a leaf work."""
        return await diagnose(
            self.api,
            vnics=self._vnics(),
            tables=self._options.route_tables,
            others=self.others,
            limit=self.limit,
            by_vnic=self._identity is None,
        )

    def refuse_dry_run(self) -> None:
        """Raise `TransientError` when nothing may be changed."""
        if self._ctx.read_only:
            raise TransientError("oci: nothing is changed in a dry run")

    async def pause(self, seconds: float) -> None:
        """Wait on the core's clock."""
        await self._ctx.clock.sleep(seconds)

    def log(self, event: str, **facts: object) -> None:
        """Log a change that was made."""
        self._ctx.log.info(event, **facts)
