"""Resources of Microsoft.Network as values, with the JSON that they came in. Pure.

A write sends that JSON back with one thing changed, so that it loses no field that routerd does not know.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs

from routerd.errors import PermanentError
from routerd.model.addresses import IPNetwork

Json = Mapping[str, Any]  # Any: JSON of the API

_READ_ONLY = frozenset({"etag", "type"})
_READ_ONLY_PROPERTIES = frozenset({"provisioningState", "resourceGuid", "subnets", "hasBgpOverride"})
"""Fields that the API fills in and a request leaves out, as the models of the SDK do: a request with a
table's `subnets` would ask for joins that the write does not need."""


@attrs.frozen(kw_only=True)
class ResourceId:
    """The parts of a resource ID; IDs ignore case."""

    subscription: str
    group: str
    name: str
    child: str = ""

    @classmethod
    def parse(cls, ref: str) -> "ResourceId":
        """Split a resource ID; `PermanentError` for any other text."""
        parts = ref.strip("/").split("/")
        if len(parts) not in {8, 10} or parts[0].lower() != "subscriptions":
            raise PermanentError(f'azure: "{ref}" is not a resource ID')
        child = parts[9] if len(parts) == 10 else ""
        return cls(subscription=parts[1].lower(), group=parts[3], name=parts[7], child=child)


@attrs.frozen(kw_only=True, eq=False)
class Interface:
    """A network interface; `body` is its whole JSON and `etag` its version."""

    ref: str
    address: IPv4Address
    subnet: str
    location: str
    primary: bool
    forwarding: bool
    etag: str
    body: Json

    @classmethod
    def of(cls, body: Json) -> "Interface":
        """Return the interface of an answer."""
        properties = body["properties"]
        configs = [each["properties"] for each in properties["ipConfigurations"]]
        first = next((each for each in configs if each.get("primary")), configs[0])
        return cls(
            ref=body["id"],
            address=IPv4Address(first["privateIPAddress"]),
            subnet=first["subnet"]["id"],
            location=body.get("location", ""),
            primary=bool(properties.get("primary", False)),
            forwarding=bool(properties.get("enableIPForwarding", False)),
            etag=body.get("etag", "*"),
            body=body,
        )


@attrs.frozen(kw_only=True)
class Route:
    """A user-defined route; `hop` is its type, `address` is set for a `VirtualAppliance`.

    `prefix` is none for a route to an IPv6 prefix or a service tag.
    """

    name: str
    prefix: IPv4Network | None
    destination: str
    hop: str
    address: IPv4Address | None
    etag: str

    @classmethod
    def of(cls, body: Json) -> "Route":
        """Return the route of an answer."""
        properties = body["properties"]
        destination, address = properties.get("addressPrefix", ""), properties.get("nextHopIpAddress")
        try:
            prefix = IPv4Network(destination)
        except ValueError:
            prefix = None
        try:
            appliance = IPv4Address(address) if address else None
        except ValueError:
            appliance = None
        return cls(
            name=body["name"],
            prefix=prefix,
            destination=destination,
            hop=properties.get("nextHopType", ""),
            address=appliance,
            etag=body.get("etag", "*"),
        )

    @property
    def next_hop(self) -> str:
        """Return the address of a virtual appliance, or in words what else the route leads to."""
        appliance = self.hop == "VirtualAppliance" and self.address is not None
        return str(self.address) if appliance else f"the next hop type {self.hop}"


@attrs.frozen(kw_only=True, eq=False)
class RouteTable:
    """A route table with its routes; `etag` is the version of the table and of all its routes."""

    ref: str
    etag: str
    routes: tuple[Route, ...]
    subnets: tuple[str, ...]
    body: Json

    @classmethod
    def of(cls, body: Json) -> "RouteTable":
        """Return the route table of an answer."""
        properties = body["properties"]
        return cls(
            ref=body["id"],
            etag=body.get("etag", "*"),
            routes=tuple(Route.of(each) for each in properties.get("routes", [])),
            subnets=tuple(str(each["id"]) for each in properties.get("subnets", [])),
            body=body,
        )

    def at(self, prefix: IPNetwork) -> Route | None:
        """Return the route to a prefix; Azure allows one."""
        return next((route for route in self.routes if route.prefix == prefix), None)

    def named(self, name: str) -> Route | None:
        """Return the route of a name; Azure ignores the case of names."""
        return next((route for route in self.routes if route.name.lower() == name.lower()), None)

    def written(self, gone: frozenset[str], put: Mapping[str, Json]) -> dict[str, Any]:
        """Return the body of a request that removes routes and puts others, by name.

        Everything else in it is as it came, known or not.
        """
        present = [each for each in self.body["properties"].get("routes", []) if each["name"] not in gone]
        routes = [_merged(each, put.get(each["name"])) for each in present]
        names = {each["name"] for each in present}
        routes += [{"name": name, "properties": value} for name, value in put.items() if name not in names]
        body = _writable(self.body)
        return {**body, "properties": {**body["properties"], "routes": routes}}


def appliance(prefix: IPNetwork, next_hop: IPv4Address) -> dict[str, str]:
    """Return the properties of a route to a virtual appliance."""
    return {
        "addressPrefix": str(prefix),
        "nextHopType": "VirtualAppliance",
        "nextHopIpAddress": str(next_hop),
    }


def _merged(body: Json, properties: Json | None) -> dict[str, Any]:
    body = _writable(body)
    return {**body, "properties": {**body["properties"], **(properties or {})}}


def _writable(body: Json) -> dict[str, Any]:
    properties = {key: value for key, value in body["properties"].items() if key not in _READ_ONLY_PROPERTIES}
    return {**{key: value for key, value in body.items() if key not in _READ_ONLY}, "properties": properties}
