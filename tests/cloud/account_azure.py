"""An Azure resource group: asynchronous writes of named routes, under an ETag."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from aiohttp import web
from tests.cloud.account import Hop, Slot, View
from tests.support.loopback import Api, metadata

from routerd_lab.clouds.azure import AzureSubscription
from routerd_lab.clouds.state import Machine
from routerd_lab.clouds.trouble import Troubles

_NAME = "azure-leaf"
_US, _THEM = "10.82.10.10", "10.82.10.20"
_NETWORK = "Microsoft.Network"


class AzureAccount:
    """Implements `Account`. Azure routes prefixes of the virtual network itself too."""

    provider = "azure"
    options = "{}"
    files: Mapping[str, str] = {}
    prefixes = (
        *(IPv4Network(f"10.81.10.{host}/32") for host in (20, 21, 22)),
        IPv4Network("10.82.77.1/32"),
    )
    inside = ()
    conditional = True
    creates_conditionally = False
    calls = (
        *(f"{_NETWORK}/networkInterfaces/read", f"{_NETWORK}/networkInterfaces/write"),
        *(f"{_NETWORK}/routeTables/read", f"{_NETWORK}/routeTables/write"),
        *(f"{_NETWORK}/routeTables/routes/write", f"{_NETWORK}/routeTables/routes/delete"),
        f"{_NETWORK}/locations/operations/read",
    )
    lags = "*"

    def __init__(self) -> None:
        self.cloud = AzureSubscription(
            network=IPv4Network("10.82.0.0/16"),
            subnet=IPv4Network("10.82.10.0/24"),
            machines=(
                Machine(name=_NAME, address=IPv4Address(_US)),
                Machine(name="azure-client", address=IPv4Address(_THEM)),
            ),
        )
        self.tables = (self.cloud.route_table,)
        # A destination that is no prefix, and a field that nobody here knows.
        service = {"addressPrefix": "AzureMonitor", "nextHopType": "Internet", "futureField": {"kept": True}}
        self.cloud.put(f"{self.tables[0]}/routes/services", service)

    @property
    def troubles(self) -> Troubles:
        return self.cloud.troubles

    def apis(self) -> Sequence[Api]:
        return (
            Api(app=self.cloud.app(), names=self.cloud.hostnames),
            metadata(self.cloud.metadata(_NAME)),
        )

    def writes(self, request: web.Request, body: bytes) -> bool:
        return request.method in {"PUT", "PATCH", "DELETE"}

    def reads_routes(self, request: web.Request, body: bytes) -> bool:
        return request.method == "GET" and "/routeTables/" in request.path

    def view(self) -> View:
        routes: dict[Slot, str] = {}
        ours: set[Slot] = set()
        others: list[object] = []
        switch = False
        for body in copy.deepcopy(list(self.cloud.resources.values())):
            body.pop("etag")
            properties = body["properties"]
            if body["id"] == self.cloud.interface(_NAME):
                switch = bool(properties.pop("enableIPForwarding"))
            if body["id"] == self.tables[0]:
                properties.pop("routes", None)
            prefix = properties.get("addressPrefix", "")
            if "/routes/" not in body["id"] or not prefix[:1].isdigit():
                others.append(body)
                continue
            slot = (self.tables[0], prefix)
            routes[slot] = json.dumps(body, sort_keys=True)
            if properties.get("nextHopIpAddress") == _US and properties["nextHopType"] == "VirtualAppliance":
                ours.add(slot)
        rest = "\n".join(sorted(json.dumps(each, sort_keys=True) for each in others))
        return View(routes=routes, ours=frozenset(ours), rest=rest, switch=switch)

    def place(self, table: str, prefix: IPv4Network, hop: Hop, mark: str) -> None:
        # Somebody edits the route that is there, which keeps its name, or makes one.
        standing = [
            body["name"]
            for ref, body in self.cloud.resources.items()
            if ref.startswith(f"{table}/routes/".lower())
            and body["properties"]["addressPrefix"] == str(prefix)
        ]
        name = next(iter(standing), f"somebodys-{str(prefix).replace('/', '-')}")
        properties: dict[str, Any] = {"addressPrefix": str(prefix), "nextHopType": "VirtualAppliance"}
        properties["nextHopIpAddress"] = _US if hop == "to us" else _THEM
        if hop == "elsewhere" and mark == "b":
            properties = {"addressPrefix": str(prefix), "nextHopType": "None"}
        self.cloud.put(f"{table}/routes/{name}", {**properties, "futureField": mark})

    def remove(self, table: str, prefix: IPv4Network) -> None:
        start = f"{table}/routes/".lower()
        for ref, body in list(self.cloud.resources.items()):
            if ref.startswith(start) and body["properties"]["addressPrefix"] == str(prefix):
                del self.cloud.resources[ref]
                self.cloud.touch(self.cloud.resource(table))

    def touch(self, mark: str) -> None:
        for ref in (self.tables[0], self.cloud.interface(_NAME)):
            body = self.cloud.resource(ref)
            body["tags"] = {"mark": mark}
            self.cloud.touch(body)

    def set_switch(self, enabled: bool) -> None:
        body = self.cloud.resource(self.cloud.interface(_NAME))
        body["properties"]["enableIPForwarding"] = enabled
        self.cloud.touch(body)
