"""An emulated subscription behind its real names, and a fabric on it, for tests. Not a test itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from tests.support.loopback import Api, metadata, on_loopback

from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd_cloud_azure import client
from routerd_lab.clouds.azure import AzureSubscription
from routerd_lab.clouds.state import Machine

RouteChange = Change[FabricRouteKey, FabricRoute]

NIC_WRITE = "Microsoft.Network/networkInterfaces/write"
READ = "Microsoft.Network/routeTables/read"
WRITE_TABLE = "Microsoft.Network/routeTables/write"
WRITE = "Microsoft.Network/routeTables/routes/write"
DELETE = "Microsoft.Network/routeTables/routes/delete"
POLL = "Microsoft.Network/locations/operations/read"

US = "10.82.10.10"
OTHER = "10.82.10.5"
REMOTE = [IPv4Network(text) for text in ("10.81.10.20/32", "10.83.10.20/32", "10.99.9.10/32")]
DEFAULT = IPv4Network("0.0.0.0/0")


@asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[AzureSubscription]:
    """Run a subscription and the metadata service of `azure-leaf`; their real names lead to them."""
    cloud = AzureSubscription(
        network=IPv4Network("10.82.0.0/16"),
        subnet=IPv4Network("10.82.10.0/24"),
        machines=(
            Machine(name="routerd-fullmesh-rr", address=IPv4Address("10.82.10.5")),
            Machine(name="azure-client", address=IPv4Address("10.82.10.20")),
            Machine(
                name="azure-leaf", address=IPv4Address("10.82.10.10"), public=IPv4Address("203.0.113.131")
            ),
        ),
    )
    monkeypatch.setattr(client, "POLL_SECONDS", 0.01)
    services = (
        Api(app=cloud.app(), names=cloud.hostnames),
        metadata(cloud.metadata("azure-leaf")),
    )
    async with on_loopback(tmp_path, *services):
        yield cloud


def many(count: int, start: str = "10.200.0.0") -> list[IPv4Network]:
    """Return that many addresses of other sites."""
    return [IPv4Network(int(IPv4Address(start)) + number) for number in range(count)]


def key(cloud: AzureSubscription, prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=RouteTableRef(cloud.route_table), prefix=prefix)


def create(cloud: AzureSubscription, prefix: IPv4Network) -> RouteChange:
    return Change(key=key(cloud, prefix), before=None, after=FabricRoute(next_hop=US))


def replace(cloud: AzureSubscription, prefix: IPv4Network, before: str, after: str) -> RouteChange:
    return Change(
        key=key(cloud, prefix), before=FabricRoute(next_hop=before), after=FabricRoute(next_hop=after)
    )


def delete(cloud: AzureSubscription, prefix: IPv4Network) -> RouteChange:
    return Change(key=key(cloud, prefix), before=FabricRoute(next_hop=US), after=None)


def place(cloud: AzureSubscription, prefix: IPv4Network, address: str) -> None:
    """Make a route as another router would."""
    name = f"routerd-{str(prefix).replace('.', '-').replace('/', '-')}"
    cloud.add_route(name, prefix, "VirtualAppliance", IPv4Address(address))


def place_foreign(cloud: AzureSubscription, prefix: IPv4Network) -> None:
    cloud.add_route("somebodys", prefix, "Internet")
