"""A region of AWS for tests and measurements: on loopback, with changes of its routes by us and by others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from tests.support.loopback import Api, metadata, on_loopback

from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd_lab.clouds.aws import AwsRegion
from routerd_lab.clouds.state import Machine
from routerd_lab.clouds.trouble import Troubles

LEAF, OTHER, CLIENT = "aws-leaf", "aws-leaf-2", "aws-client"

RouteChange = Change[FabricRouteKey, FabricRoute]


class AwsWorld:
    """One VPC with two routers and a client; the methods here bypass the API and its troubles."""

    def __init__(self) -> None:
        self.region = AwsRegion(
            network=IPv4Network("10.81.0.0/16"),
            subnet=IPv4Network("10.81.10.0/24"),
            machines=(
                Machine(name=LEAF, address=IPv4Address("10.81.10.10"), public=IPv4Address("198.51.100.59")),
                Machine(name=OTHER, address=IPv4Address("10.81.10.11")),
                Machine(name=CLIENT, address=IPv4Address("10.81.10.20")),
            ),
        )
        self.ec2: Any = self.region.ec2  # Any: moto's models have no public types

    @property
    def us(self) -> str:
        """Return the interface of our router."""
        return self.region.interface(LEAF)

    @property
    def other(self) -> str:
        """Return the interface of the site's other router."""
        return self.region.interface(OTHER)

    @property
    def main(self) -> str:
        """Return the VPC's main route table."""
        return self.region.route_table

    @property
    def troubles(self) -> Troubles:
        """Return the scripted troubles and the record of calls."""
        return self.region.troubles

    # --- changes, as the loop asks for them ---------------------------------------------------------

    def key(self, prefix: IPv4Network, table: str = "") -> FabricRouteKey:
        """Return the key of a route, in the main table by default."""
        return FabricRouteKey(table=RouteTableRef(table or self.main), prefix=prefix)

    def change(
        self, prefix: IPv4Network, before: str | None, after: str | None, table: str = ""
    ) -> RouteChange:
        """Return a change of a route's target."""
        return Change(
            key=self.key(prefix, table),
            before=FabricRoute(next_hop=before) if before else None,
            after=FabricRoute(next_hop=after) if after else None,
        )

    def create(self, prefix: IPv4Network, table: str = "") -> RouteChange:
        """Return the creation of a route towards us."""
        return self.change(prefix, None, self.us, table)

    def delete(self, prefix: IPv4Network, table: str = "") -> RouteChange:
        """Return the deletion of a route towards us."""
        return self.change(prefix, self.us, None, table)

    # --- what others do -------------------------------------------------------------------------------

    def place(self, prefix: IPv4Network, target: str = "", table: str = "") -> None:
        """Lead a prefix to an interface or a gateway at once, by default to the VPC's own gateway."""
        table, target = table or self.main, target or self.region.internet_gateway
        kind = "interface_id" if target.startswith("eni-") else "gateway_id"
        act = self.ec2.create_route if self.leads_to(prefix, table) is None else self.ec2.replace_route
        act(table, str(prefix), **{kind: target})

    def remove(self, prefix: IPv4Network, table: str = "") -> None:
        """Delete a route at once."""
        self.ec2.delete_route(table or self.main, str(prefix))

    def leads_to(self, prefix: IPv4Network, table: str = "") -> str | None:
        """Return the target of a prefix, if it has one."""
        for route in self.ec2.get_route_table(table or self.main).routes:
            if route.destination_cidr_block == str(prefix):
                return str(route.interface.id if route.interface else route.gateway_id)
        return None

    def targets(self, table: str = "") -> dict[IPv4Network, str | None]:
        """Return all IPv4 routes of a table that are not local."""
        routes = self.ec2.get_route_table(table or self.main).routes
        prefixes = [IPv4Network(each.destination_cidr_block) for each in routes if not each.local]
        return {prefix: self.leads_to(prefix, table) for prefix in prefixes}

    def add_table(self, *, subnet: bool = False) -> str:
        """Make a route table; with `main` or a subnet it is in use from now on."""
        table = self.ec2.create_route_table(self.region.vpc)
        if subnet:
            self.ec2.associate_route_table(table.id, subnet_id=self.region.subnet)
        return str(table.id)

    def terminate(self, name: str) -> None:
        """Delete a machine's interface; routes to it become blackholes."""
        self.ec2.delete_network_interface(self.region.interface(name))


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[AwsWorld]:
    """Serve a region, and the metadata service of its leaf; `directory` takes the certificates."""
    world = AwsWorld()
    region = world.region
    async with on_loopback(
        directory,
        Api(app=region.app(), names=region.hostnames),
        metadata(region.metadata(LEAF)),
    ):
        yield world
