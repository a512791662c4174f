"""Resources of Microsoft.Network as we see them, kept with the JSON that they came in. Pure.

What is written back is that JSON with one thing changed, so that no field is lost that we do not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs

from routerd.errors import PermanentError

Json = Mapping[str, Any]  # Any: JSON of the API

_READ_ONLY = frozenset({"etag", "type"})
_READ_ONLY_PROPERTIES = frozenset({"provisioningState", "resourceGuid", "subnets", "hasBgpOverride"})
"""What the API fills in and a request leaves out, as the models of the SDK do: to send a table's
`subnets` back would be to ask for joins that the write does not need."""


@attrs.frozen(kw_only=True)
class ResourceId:
    """The parts of a resource ID; IDs ignore case."""

    subscription: str
    group: str
    name: str
    child: str = ""

    @classmethod
    def parse(cls, ref: str) -> ResourceId:
        """Split a resource ID; `PermanentError` when it is none."""
        parts = ref.strip("/").split("/")
        if len(parts) not in {8, 10} or parts[0].lower() != "subscriptions":
            raise PermanentError(f'azure: "{ref}" is no resource ID')
        child = parts[9] if len(parts) == 10 else ""
        return cls(subscription=parts[1].lower(), group=parts[3], name=parts[7], child=child)


@attrs.frozen(kw_only=True, eq=False)
class Interface:
    """A network interface; `body` is its whole JSON and `etag` the version that it is."""

    ref: str
    address: IPv4Address
    subnet: str
    location: str
    primary: bool
    forwarding: bool
    etag: str
    body: Json

    @classmethod
    def of(cls, body: Json) -> Interface:
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

    `prefix` is none for a route that is not for an IPv4 prefix but for IPv6 or a service tag.
    """

    name: str
    prefix: IPv4Network | None
    destination: str
    hop: str
    address: IPv4Address | None
    etag: str

    @classmethod
    def of(cls, body: Json) -> Route:
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
        """Return the address that the route leads to, empty when it leads to no virtual appliance."""
        return str(self.address) if self.hop == "VirtualAppliance" and self.address else ""


@attrs.frozen(kw_only=True, eq=False)
class RouteTable:
    """A route table with its routes; `etag` is the version of the table and of all its routes."""

    ref: str
    etag: str
    routes: tuple[Route, ...]
    subnets: tuple[str, ...]
    body: Json

    @classmethod
    def of(cls, body: Json) -> RouteTable:
        """Return the route table of an answer."""
        properties = body["properties"]
        return cls(
            ref=body["id"],
            etag=body.get("etag", "*"),
            routes=tuple(Route.of(each) for each in properties.get("routes", [])),
            subnets=tuple(str(each["id"]) for each in properties.get("subnets", [])),
            body=body,
        )

    def at(self, prefix: IPv4Network) -> Route | None:
        """Return the route to a prefix; Azure allows one."""
        return next((route for route in self.routes if route.prefix == prefix), None)

    def named(self, name: str) -> Route | None:
        """Return the route of a name; names ignore case."""
        return next((route for route in self.routes if route.name.lower() == name.lower()), None)

    def written(self, gone: frozenset[str], put: Mapping[str, Json]) -> dict[str, Any]:
        """Return the body of a request that makes the table lose and get routes by name.

        Everything else in it, whether we know it or not, is as it came.
        """
        present = [each for each in self.body["properties"].get("routes", []) if each["name"] not in gone]
        routes = [_merged(each, put.get(each["name"])) for each in present]
        names = {each["name"] for each in present}
        routes += [{"name": name, "properties": value} for name, value in put.items() if name not in names]
        body = _writable(self.body)
        return {**body, "properties": {**body["properties"], "routes": routes}}


def appliance(prefix: IPv4Network, next_hop: IPv4Address) -> dict[str, str]:
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
