"""The resources of a VCN as values. Pure.

`UpdateRouteTable` replaces the whole list of rules, and foreign rules must come back as they were read,
unknown fields included. So a rule stays the dictionary of its JSON.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, ip_network

import attrs

Rule = Mapping[str, object]

PRIVATE_IP = "ocid1.privateip."


@attrs.frozen(kw_only=True)
class Vnic:
    """A VNIC as the API shows it; `forwarding` is `skipSourceDestCheck`."""

    ref: str
    address: IPv4Address
    subnet: str
    compartment: str
    primary: bool
    forwarding: bool
    etag: str


@attrs.frozen(kw_only=True)
class Subnet:
    """A subnet: its VCN, and the route table that its VNICs use."""

    ref: str
    vcn: str
    route_table: str


@attrs.frozen(kw_only=True)
class RouteTable:
    """A route table as read; a write under its ETag fails once the table has changed."""

    ref: str
    vcn: str
    rules: tuple[Rule, ...]
    etag: str


def destination(rule: Rule) -> IPv4Network | None:
    """Return the rule's IPv4 destination, or none for a service or an IPv6 prefix."""
    text = rule.get("destination") or rule.get("cidrBlock")
    if not isinstance(text, str) or rule.get("destinationType", "CIDR_BLOCK") not in ("CIDR_BLOCK", None):
        return None
    try:
        network = ip_network(text)
    except ValueError:
        return None
    return network if isinstance(network, IPv4Network) else None


def target(rule: Rule) -> str:
    """Return where a rule leads; `LOCAL` for a rule of the VCN itself, which cannot be changed."""
    return "LOCAL" if rule.get("routeType") == "LOCAL" else str(rule.get("networkEntityId"))
