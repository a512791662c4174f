"""An AWS VPC: one route a call, and no condition on any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web
from tests.cloud.account import Hop, Slot, View
from tests.support.loopback import Api, metadata

from routerd_lab.clouds.aws import AwsRegion
from routerd_lab.clouds.state import Machine
from routerd_lab.clouds.trouble import Troubles

_NAME, _OTHER = "aws-leaf", "aws-client"
_READS = ("Describe", "Get", "List")


class AwsAccount:
    """Implements `Account`."""

    provider = "aws"
    options = "{}"
    files: Mapping[str, str] = {}
    prefixes = tuple(IPv4Network(f"10.82.10.{host}/32") for host in (20, 21, 22))
    inside = (IPv4Network("10.81.10.77/32"),)
    conditional = False
    creates_conditionally = True
    calls = (
        *("DescribeNetworkInterfaces", "ModifyNetworkInterfaceAttribute", "DescribeRouteTables"),
        *("CreateRoute", "DeleteRoute", "CreateRoute"),
    )
    lags = "*"

    def __init__(self) -> None:
        self.region = AwsRegion(
            network=IPv4Network("10.81.0.0/16"),
            subnet=IPv4Network("10.81.10.0/24"),
            machines=(
                Machine(name=_NAME, address=IPv4Address("10.81.10.10")),
                Machine(name=_OTHER, address=IPv4Address("10.81.10.20")),
            ),
        )
        self.tables = (self.region.route_table,)

    @property
    def troubles(self) -> Troubles:
        return self.region.troubles

    def apis(self) -> Sequence[Api]:
        return (
            Api(app=self.region.api.app(), names=self.region.hostnames),
            metadata(self.region.metadata(_NAME)),
        )

    def writes(self, request: web.Request, body: bytes) -> bool:
        (action,) = parse_qs(body.decode()).get("Action", ["Get"])
        return not action.startswith(_READS)

    @property
    def _table(self) -> Any:
        return self.region.ec2.route_tables[self.tables[0]]

    @property
    def _eni(self) -> Any:
        return self.region.ec2.enis[self.region.interface(_NAME)]

    def reads_routes(self, request: web.Request, body: bytes) -> bool:
        return parse_qs(body.decode()).get("Action") == ["DescribeRouteTables"]

    def view(self) -> View:
        routes: dict[Slot, str] = {}
        ours: set[Slot] = set()
        us = self.region.interface(_NAME)
        for route in self._table.routes:
            hop = route.interface or route.gateway or route.instance
            slot = (self.tables[0], str(route.destination_cidr_block))
            routes[slot] = json.dumps([route.local, hop.id if hop is not None else None])
            if route.interface is not None and route.interface.id == us:
                ours.add(slot)
        rest = json.dumps(
            [
                self._table.associations,
                sorted((tag["key"], tag["value"]) for tag in self._table.get_tags()),
                [[eni.id, eni.description] for eni in self.region.ec2.enis.values()],
                self.region.forwarding(_OTHER),
            ]
        )
        return View(
            routes=routes, ours=frozenset(ours), rest=rest, switch=not bool(self._eni.source_dest_check)
        )

    def place(self, table: str, prefix: IPv4Network, hop: Hop, mark: str) -> None:
        self.remove(table, prefix)
        where: dict[str, str] = {"interface_id": self.region.interface(_NAME if hop == "to us" else _OTHER)}
        if hop == "elsewhere" and mark == "b":
            where = {"gateway_id": self.region.internet_gateway}
        self.region.ec2.create_route(table, str(prefix), **where)

    def remove(self, table: str, prefix: IPv4Network) -> None:
        if any(route.destination_cidr_block == str(prefix) for route in self._table.routes):
            self.region.ec2.delete_route(table, str(prefix))

    def touch(self, mark: str) -> None:
        self.region.ec2.create_tags([self.tables[0]], {"mark": mark})

    def set_switch(self, enabled: bool) -> None:
        self._eni.source_dest_check = not enabled
