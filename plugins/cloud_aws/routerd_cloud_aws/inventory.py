"""A VPC as the EC2 API shows it, as values. Pure: reads answers, not the SDK."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs

from routerd.model.addresses import IPNetwork

Answer = Mapping[str, Any]  # Any: the SDK's answers are made at run time

_TARGETS = (
    "NetworkInterfaceId",
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "EgressOnlyInternetGatewayId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
    "OdbNetworkArn",
    "InstanceId",
)


@attrs.frozen(kw_only=True)
class Interface:
    """A network interface as the API shows it; `forwarding` is the inverse of `SourceDestCheck`."""

    ref: str
    address: IPv4Address
    subnet: str
    vpc: str
    forwarding: bool


@attrs.frozen(kw_only=True)
class Route:
    """A route as the API shows it; the target of a `blackhole` is deleted or stopped."""

    prefix: IPv4Network
    target: str
    blackhole: bool = False


@attrs.frozen(kw_only=True)
class RouteTable:
    """A route table: the subnets that it is explicitly associated with, and its IPv4 routes.

    `used` is the number of its routes that count towards the quota of IPv4 routes.
    """

    ref: str
    vpc: str
    main: bool
    subnets: tuple[str, ...]
    routes: tuple[Route, ...]
    used: int

    @property
    def targets(self) -> dict[IPNetwork, str]:
        """Return what each prefix leads to."""
        return {route.prefix: route.target for route in self.routes}

    def find(self, prefix: IPNetwork) -> Route | None:
        """Return the route to exactly `prefix`."""
        return next((route for route in self.routes if route.prefix == prefix), None)


def interfaces(answers: Iterable[Answer]) -> tuple[Interface, ...]:
    """Return the interfaces of DescribeNetworkInterfaces."""
    return tuple(
        Interface(
            ref=each["NetworkInterfaceId"],
            address=IPv4Address(each["PrivateIpAddress"]),
            subnet=each["SubnetId"],
            vpc=each["VpcId"],
            forwarding=not each["SourceDestCheck"],
        )
        for answer in answers
        for each in answer["NetworkInterfaces"]
    )


def networks(answers: Iterable[Answer]) -> tuple[IPv4Network, ...]:
    """Return the IPv4 prefixes of DescribeVpcs that the VPC holds or is about to hold."""
    return tuple(
        IPv4Network(block["CidrBlock"])
        for answer in answers
        for each in answer["Vpcs"]
        for block in each["CidrBlockAssociationSet"]
        if block["CidrBlockState"]["State"] in {"associating", "associated"}
    )


def tables(answers: Iterable[Answer]) -> tuple[RouteTable, ...]:
    """Return the route tables of DescribeRouteTables."""
    return tuple(_table(each) for answer in answers for each in answer["RouteTables"])


def tables_of_subnets(found: Sequence[RouteTable], subnets: Iterable[str]) -> tuple[str, ...]:
    """Return the tables that subnets use: their own, else the main one of the VPC.

    Amazon VPC User Guide, "Subnet route tables".
    """
    own = {subnet: table.ref for table in found for subnet in table.subnets}
    wanted = tuple(subnets)
    chosen = [own[subnet] for subnet in wanted if subnet in own]
    if len(chosen) < len(wanted):
        chosen += sorted(table.ref for table in found if table.main)
    return tuple(dict.fromkeys(chosen))


def _table(each: Answer) -> RouteTable:
    links: Sequence[Answer] = each.get("Associations", [])
    routes: Sequence[Answer] = each["Routes"]
    return RouteTable(
        ref=each["RouteTableId"],
        vpc=each["VpcId"],
        main=any(link.get("Main") for link in links),
        subnets=tuple(link["SubnetId"] for link in links if "SubnetId" in link),
        routes=tuple(_routes(routes)),
        used=sum(map(_counts, routes)),
    )


def _routes(routes: Iterable[Answer]) -> Iterator[Route]:
    for route in routes:
        # routerd writes neither IPv6 routes nor prefix lists.
        if "DestinationCidrBlock" in route:
            yield Route(
                prefix=IPv4Network(route["DestinationCidrBlock"]),
                target=next((route[key] for key in _TARGETS if route.get(key)), "an unknown target"),
                blackhole=route.get("State") == "blackhole",
            )


def _counts(route: Answer) -> bool:
    """Say whether a route counts towards L-93826ACB.

    The quota covers non-propagated routes, IPv4 and IPv6 apart (Amazon VPC quotas, "Route tables"). AWS
    does not count the local ones, made with the table, and those of a gateway or route server. A prefix
    list counts as many as it may hold. This answer does not say how many, and one is the least.
    """
    return route.get("Origin", "CreateRoute") == "CreateRoute" and "DestinationIpv6CidrBlock" not in route
