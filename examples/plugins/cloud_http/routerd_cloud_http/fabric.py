"""The fabric: our NICs and routes in the document of a site."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

from routerd.errors import PermanentError, ProviderError, TransientError
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
from routerd.spi import PluginContext
from routerd.spi.site_routes import RouteChange, SiteRouters, Write, by_table, fault, judge_change
from routerd_cloud_http.config import HttpOptions
from routerd_cloud_http.document import Document, Site, written


class ForwardingTable:
    """The forwarding switch of each NIC. Implements `routerd.spi.Table`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        """Return every switch."""
        nics = (await self._site.read())["nics"]
        return {NicRef(name): Forwarding(enabled=bool(nic.get("forwarding"))) for name, nic in nics.items()}

    async def apply(self, changes: Sequence[Change[NicRef, Forwarding]]) -> Mapping[NicRef, ProviderError]:
        """Set the switches of the NICs that exist, in one write."""
        failures: dict[NicRef, ProviderError] = {}

        def edit(document: Document) -> bool:
            before = copy.deepcopy(document)
            failures.clear()
            for change in changes:
                if change.key in document["nics"]:
                    document["nics"][change.key]["forwarding"] = change.desired.enabled
                else:
                    failures[change.key] = PermanentError(
                        f"NIC {change.key}: not in the document; check nextHop"
                    )
            return document != before

        return await written(self._site, edit, failures, changes)


class RouteTable:
    """The routes that lead to us. Implements `routerd.spi.ForeseeingTable`."""

    def __init__(self, site: Site, us: str) -> None:
        self._site = site
        self._us = us
        self._seen: Document | None = None

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return our routes; a route to anything else is foreign and not shown."""
        self._seen = document = await self._site.read()
        try:
            return {
                FabricRouteKey(table=RouteTableRef(table), prefix=ip_network(prefix)): FabricRoute(
                    next_hop=hop
                )
                for table, routes in document["tables"].items()
                for prefix, hop in routes.items()
                if hop == self._us
            }
        except ValueError as error:
            raise TransientError(f"the document has a route that is not one: {error}") from error

    def foresee(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Return the refusals of `apply`, if the document is as it was read last."""
        return {} if self._seen is None else self._edit(copy.deepcopy(self._seen), changes)

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Make each change that can be made, all in one write, and report the others by key."""
        failures: dict[FabricRouteKey, ProviderError] = {}

        def edit(document: Document) -> bool:
            # Another attempt decides everything again by what is there now.
            before = copy.deepcopy(document)
            failures.clear()
            failures.update(self._edit(document, changes))
            return document != before

        return await written(self._site, edit, failures, changes)

    def _edit(
        self, document: Document, changes: Sequence[RouteChange]
    ) -> dict[FabricRouteKey, ProviderError]:
        failures: dict[FabricRouteKey, ProviderError] = {}
        for table, part in by_table(changes).items():
            for change in part:
                if (error := self._make(document, table, change)) is not None:
                    failures[change.key] = error
        return failures

    def _make(self, document: Document, table: RouteTableRef, change: RouteChange) -> ProviderError | None:
        """Make one change if the rule of sites and the quota allow it; else return why not."""
        prefix, routes, limit = str(change.key.prefix), document["tables"].get(table), document.get("limit")
        subject = f"route {prefix} in table {table}"
        if routes is None:
            return PermanentError(f"{subject}: the document has no such table; add it")
        verdict = judge_change(change, routes.get(prefix), SiteRouters(us=self._us))
        if not isinstance(verdict, Write):
            return fault(verdict, subject, remedy="remove it, or choose another address")
        if change.after is None:
            del routes[prefix]
        elif prefix not in routes and limit is not None and len(routes) >= limit:
            return PermanentError(
                f"{subject}: the table has {len(routes)} of at most {limit} routes; raise limit"
            )
        else:
            routes[prefix] = change.after.next_hop
        return None


class HttpFabric:
    """Implements `routerd.spi.Fabric`."""

    def __init__(self, context: PluginContext, options: HttpOptions) -> None:
        self._options = options
        self._site = Site(context, options)
        self._forwarding = ForwardingTable(self._site)
        self._routes = RouteTable(self._site, options.next_hop)

    async def start(self) -> None:
        """Check that the document can be read."""
        await self.instance()

    async def aclose(self) -> None:
        """Do nothing: the routes stay, and every request has ended."""

    async def instance(self) -> InstanceFacts:
        """Return our identity, from the document and the options."""
        document, us = await self._site.read(), self._options.next_hop
        if us not in document["nics"]:
            raise PermanentError(f"next hop {us}: not a NIC of the document; check nextHop")
        try:
            nics = [
                Nic(ref=NicRef(name), address=ip_address(nic["address"]), primary=name == us)
                for name, nic in document["nics"].items()
            ]
        except (KeyError, ValueError) as error:
            raise TransientError(f"the document has a NIC without an address: {error}") from error
        return InstanceFacts(
            provider="http",
            instance=us,
            nics=tuple(nics),
            next_hop=us,
            route_tables=tuple(map(RouteTableRef, document["tables"])),
        )

    @property
    def forwarding(self) -> ForwardingTable:
        """Return the switches."""
        return self._forwarding

    @property
    def routes(self) -> RouteTable:
        """Return the routes."""
        return self._routes
