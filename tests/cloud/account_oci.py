"""An OCI compartment: whole-list writes under an ETag."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from aiohttp import web
from tests.cloud.account import Hop, Slot, View
from tests.support.loopback import Api, metadata

from routerd_lab.clouds.oci import Instance, OciRegion, ocid
from routerd_lab.clouds.trouble import Troubles

_NAME = "oci-leaf"


class OciAccount:
    """Implements `Account`."""

    provider = "oci"
    options = "{}"
    files: Mapping[str, str] = {}
    prefixes = tuple(IPv4Network(f"10.81.10.{host}/32") for host in (20, 21, 22))
    inside = (IPv4Network("10.83.10.77/32"),)
    conditional = True
    creates_conditionally = True
    calls = ("GetVnic", "UpdateVnic", "GetRouteTable", "UpdateRouteTable")
    lags = "*"

    def __init__(self) -> None:
        self.region = OciRegion(
            network=IPv4Network("10.83.0.0/16"),
            subnet=IPv4Network("10.83.10.0/24"),
            instances=(
                Instance(name=_NAME, address=IPv4Address("10.83.10.10")),
                Instance(name="oci-client", address=IPv4Address("10.83.10.20")),
            ),
        )
        self._held = self.region.inventory
        self.tables = (self._held.route_table,)
        self._us = ocid("privateip", _NAME, self.region.region)
        self._them = ocid("privateip", "oci-client", self.region.region)
        self._body["routeRules"].append(
            # A field that nobody here knows, and a destination that is no prefix.
            {
                "destination": "all-kix-services-in-oracle-services-network",
                "destinationType": "SERVICE_CIDR_BLOCK",
                "networkEntityId": self._held.internet_gateway,
                "routeType": "STATIC",
                "description": "services",
                "cidrBlock": None,
                "futureField": {"kept": True},
            }
        )

    @property
    def troubles(self) -> Troubles:
        return self.region.troubles

    def apis(self) -> Sequence[Api]:
        return (
            Api(app=self.region.app(), names=self.region.hostnames),
            metadata(self.region.metadata(_NAME)),
        )

    def writes(self, request: web.Request, body: bytes) -> bool:
        return request.method == "PUT"

    def reads_routes(self, request: web.Request, body: bytes) -> bool:
        return request.method == "GET" and "/routeTables/" in request.path

    @property
    def _record(self) -> Any:
        return self._held.route_tables[self.tables[0]]

    @property
    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = self._record.body
        return body

    @property
    def _vnic(self) -> Any:
        return self._held.vnics[ocid("vnic", _NAME, self.region.region)]

    def view(self) -> View:
        routes: dict[Slot, str] = {}
        ours: set[Slot] = set()
        others: list[object] = []
        for rule in self._body["routeRules"]:
            if rule["destinationType"] != "CIDR_BLOCK":
                others.append(rule)
                continue
            slot = (self.tables[0], rule["destination"])
            routes[slot] = json.dumps(rule, sort_keys=True)
            if rule["networkEntityId"] == self._us:
                ours.add(slot)
        body = {name: value for name, value in self._body.items() if name != "routeRules"}
        vnics = [
            {name: value for name, value in each.body.items() if each is not self._vnic or name != _SWITCH}
            for each in self._held.vnics.values()
        ]
        # The order of foreign rules is somebody's too.
        order = [slot[1] for slot in routes if slot not in ours]
        rest = json.dumps([others, body, vnics, order], sort_keys=True)
        switch = bool(self._vnic.body[_SWITCH])
        return View(routes=routes, ours=frozenset(ours), rest=rest, switch=switch)

    def place(self, table: str, prefix: IPv4Network, hop: Hop, mark: str) -> None:
        self.remove(table, prefix)
        self._body["routeRules"].append(
            {
                "destination": str(prefix),
                "destinationType": "CIDR_BLOCK",
                "networkEntityId": self._us if hop == "to us" else self._them,
                "routeType": "STATIC",
                "description": f"somebody's {mark}",
                "cidrBlock": None,
                "futureField": mark,
            }
        )
        self._record.touch()

    def remove(self, table: str, prefix: IPv4Network) -> None:
        rules = self._body["routeRules"]
        rules[:] = [rule for rule in rules if rule["destination"] != str(prefix)]
        self._record.touch()

    def touch(self, mark: str) -> None:
        self._body["freeformTags"] = {"mark": mark}
        self._record.touch()
        self._vnic.body["displayName"] = f"{_NAME}-{mark}"
        self._vnic.touch()

    def set_switch(self, enabled: bool) -> None:
        self._vnic.body[_SWITCH] = enabled
        self._vnic.touch()


_SWITCH = "skipSourceDestCheck"
