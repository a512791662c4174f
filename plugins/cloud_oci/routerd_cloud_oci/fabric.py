"""The fabric kind `oci`: VNICs that forward, and route tables that lead to our private IP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

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
from routerd_cloud_oci import metadata
from routerd_cloud_oci.client import Api, connect
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.faults import FullError, RejectedError, StaleError
from routerd_cloud_oci.metadata import Identity
from routerd_cloud_oci.rules import destination, merge, ours

_ATTEMPTS = 5
"""How often a read-merge-write is tried again when somebody else writes in between."""

RouteChange = Change[FabricRouteKey, FabricRoute]


class OciFabric:
    """One VCN as seen from our own instance in it."""

    def __init__(
        self,
        ctx: PluginContext,
        options: OciOptions,
        *,
        connector: Callable[[OciOptions, str], Awaitable[Api]] = connect,
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
        """Import the SDK and get credentials; no request to the network API yet."""
        options = self._options
        if not (options.vnics and (options.region or options.auth == "config_file")):
            self._identity = await self._identify()
        region = options.region or (self._identity.region if self._identity else "")
        if self._api is not None:
            await self._api.aclose()
        self._api = await self._connector(options, region)

    async def aclose(self) -> None:
        """Close the connections; what the cloud holds stays."""
        if self._api is not None:
            await self._api.aclose()
            self._api = None

    async def instance(self) -> InstanceFacts:
        """Return our VNICs, the route tables of their subnets, and our primary private IP's OCID."""
        api = self.api
        refs = self._options.vnics or (self._identity.vnics if self._identity else ())
        if not refs:
            raise PermanentError("oci: the instance has no VNIC; set vnics")
        vnics = [await api.vnic(ref) for ref in refs]
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
        self._facts = InstanceFacts(
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
        return self._facts

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        if self._api is None:
            raise TransientError("oci: not started yet")
        return self._api

    async def facts(self) -> InstanceFacts:
        """Return what `instance` last found."""
        return self._facts or await self.instance()

    @property
    def read_only(self) -> bool:
        """Say whether this is a dry run."""
        return self._ctx.read_only

    async def pause(self, seconds: float) -> None:
        """Wait on the core's clock."""
        await self._ctx.clock.sleep(seconds)

    def log(self, event: str, **facts: object) -> None:
        """Log a change that was made."""
        self._ctx.log.info(event, **facts)


class _ForwardingTable:
    """`skipSourceDestCheck` of our own VNICs."""

    def __init__(self, fabric: OciFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        facts = await self._fabric.facts()
        return {
            nic.ref: Forwarding(enabled=(await self._fabric.api.vnic(nic.ref)).forwarding)
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
        _refuse_dry_run(self._fabric)
        if nic not in {each.ref for each in (await self._fabric.facts()).nics}:
            raise NotOwnedError(f"oci VNIC {nic}: does not belong to this instance")
        for attempt in range(_ATTEMPTS):
            present = await self._fabric.api.vnic(nic)
            if present.forwarding == enabled:
                return
            try:
                await self._fabric.api.set_forwarding(nic, enabled, present.etag)
            except StaleError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                self._fabric.log("oci.forwarding.set", vnic=nic, enabled=enabled)
                return


class _RoutesTable:
    """The rules in our route tables that lead to our private IP."""

    def __init__(self, fabric: OciFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        facts = await self._fabric.facts()
        found: dict[FabricRouteKey, FabricRoute] = {}
        for ref in facts.route_tables:
            table = await self._fabric.api.route_table(ref)
            for rule in table.rules:
                prefix = destination(rule)
                if prefix is not None and ours(rule, facts.next_hop):
                    key = FabricRouteKey(table=ref, prefix=prefix)
                    found[key] = FabricRoute(next_hop=facts.next_hop)
        return found

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        failures: dict[FabricRouteKey, ProviderError] = {}
        by_table: dict[RouteTableRef, list[RouteChange]] = {}
        # Deletions first: where a table is full they make room.
        for change in sorted(changes, key=lambda each: each.after is not None):
            by_table.setdefault(change.key.table, []).append(change)
        for ref, part in by_table.items():
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
                # What follows are creations too, and there is room for none of them.
                return {**first, **{change.key: full for change in changes[middle:]}}
            return {**first, **await self._write(ref, changes[middle:])}
        except ProviderError as error:
            return {change.key: error for change in changes}

    async def _merge(
        self, ref: RouteTableRef, changes: Sequence[RouteChange]
    ) -> Mapping[FabricRouteKey, ProviderError]:
        _refuse_dry_run(self._fabric)
        facts = await self._fabric.facts()
        if ref not in facts.route_tables:
            raise NotOwnedError(
                f"oci route table {ref}: is none of this instance's; set routeTables to use it"
            )
        attempt = 0
        while True:
            table = await self._fabric.api.route_table(ref)
            merged = merge(table, changes, next_hop=facts.next_hop, networks=facts.networks)
            if merged.rules == table.rules:
                return merged.failures
            try:
                await self._fabric.api.replace_rules(ref, merged.rules, table.etag)
            except StaleError:
                attempt += 1
                if attempt == _ATTEMPTS:
                    raise
                # Another writer is at work; let it finish. Grows, so that two of us part ways.
                await self._fabric.pause(0.05 * 2**attempt)
            else:
                self._fabric.log(
                    "oci.routes.written", table=ref, rules=len(merged.rules), before=len(table.rules)
                )
                return merged.failures


def _refuse_dry_run(fabric: OciFabric) -> None:
    if fabric.read_only:
        raise TransientError("oci: nothing is changed in a dry run")
