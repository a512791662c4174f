"""What the fabric needs of Azure, whoever gives it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from routerd_cloud_azure.edits import Edit
from routerd_cloud_azure.permissions import Grant
from routerd_cloud_azure.resources import Interface, Route, RouteTable


class Api(Protocol):
    """What the fabric needs of Azure. Every method raises `ProviderError`."""

    async def interfaces_of(self, group: str, instance: str) -> tuple[Interface, ...]:
        """Return the interfaces in a resource group that belong to a VM, the primary one first."""
        ...

    async def interface(self, ref: str) -> Interface:
        """Return one interface."""
        ...

    async def set_forwarding(self, interface: Interface, enabled: bool) -> None:
        """Replace the interface with one field changed; `StaleError` when it changed since it was read."""
        ...

    async def route_table_of(self, subnet: str) -> str | None:
        """Return the resource ID of the route table of a subnet."""
        ...

    async def route_table(self, ref: str) -> RouteTable:
        """Return a route table with its routes."""
        ...

    async def write_table(self, table: RouteTable, edits: Sequence[Edit]) -> None:
        """Replace a table by what it was with edits made; `StaleError` when it changed since it was read."""
        ...

    async def put_route(
        self, table: str, name: str, prefix: IPv4Network, next_hop: IPv4Address, etag: str
    ) -> Route:
        """Make a route to a virtual appliance, or replace the one of an ETag, and return what is there then.

        `RejectedError` when the prefix is taken, `StaleError` when the one to replace has changed.
        """
        ...

    async def delete_route(self, table: str, name: str, etag: str) -> None:
        """Delete a route as it was read; `StaleError` when it changed since."""
        ...

    async def routes_limit(self, location: str) -> int | None:
        """Return how many routes a table of the subscription may hold in a region, none if it is not told."""
        ...

    async def permissions(self, scope: str) -> tuple[Grant, ...]:
        """Return what the identity is allowed at a resource ID ("Permissions - List For Resource")."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
