"""A cloud as a router sees it: its own instance, the forwarding switch, the route tables."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Literal, NewType

import attrs

NicRef = NewType("NicRef", str)
"""The cloud's own identifier of a network interface (ENI id, Azure resource ID, VNIC OCID)."""

RouteTableRef = NewType("RouteTableRef", str)
"""The cloud's own identifier of a route table; for Proxmox VE a guest, such as `qemu/101`."""


@attrs.frozen(kw_only=True)
class Nic:
    """A network interface of our instance."""

    ref: NicRef
    address: IPv4Address
    subnet: str = ""
    primary: bool = False


@attrs.frozen(kw_only=True)
class InstanceFacts:
    """What the provider found out about the host it runs on.

    `nics` are those whose forwarding switch we set; `route_tables` those that must know the
    remote addresses; `next_hop` is how a route in them names us (ENI id, private address,
    private-IP OCID). `networks` are the prefixes of the cloud network itself, inside which AWS
    and OCI route no /32.
    """

    provider: str
    instance: str
    nics: tuple[Nic, ...]
    next_hop: str
    route_tables: tuple[RouteTableRef, ...] = ()
    networks: tuple[IPv4Network, ...] = ()


@attrs.frozen(kw_only=True)
class Forwarding:
    """Whether a NIC lets packets pass that are neither from nor to its own address.

    The inverse of AWS `sourceDestCheck` and equal to Azure `enableIPForwarding` and OCI
    `skipSourceDestCheck`.
    """

    enabled: bool


@attrs.frozen(kw_only=True, order=True)
class FabricRouteKey:
    """Key of a route in a cloud's route table."""

    table: RouteTableRef
    prefix: IPv4Network


@attrs.frozen(kw_only=True)
class FabricRoute:
    """A route in a cloud's route table; `next_hop` as in `InstanceFacts.next_hop`."""

    next_hop: str


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was checked of a cloud account.

    `subject` is what was checked, a permission by the cloud's own name (`ec2:CreateRoute`) or a
    setting; `state` `unknown` means that the API has no way to tell. `detail` is what was found, and
    `remedy` what to do where something is missing.
    """

    subject: str
    state: Literal["ok", "missing", "unknown"]
    detail: str = ""
    remedy: str = ""
