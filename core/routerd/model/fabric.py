"""A cloud as a router sees it: its own instance, the forwarding switch, the route tables."""

from typing import Literal, NewType

import attrs

from routerd.model.addresses import IPAddress, IPNetwork, order

NicRef = NewType("NicRef", str)
"""The cloud's own identifier of a network interface (ENI id, Azure resource ID, VNIC OCID)."""

RouteTableRef = NewType("RouteTableRef", str)
"""The cloud's own identifier of a route table; for Proxmox VE a guest, such as `qemu/101`."""


@attrs.frozen(kw_only=True)
class Nic:
    """A network interface of our instance."""

    ref: NicRef
    address: IPAddress
    subnet: str = ""
    primary: bool = False


@attrs.frozen(kw_only=True)
class InstanceFacts:
    """The facts of the instance on which the provider runs.

    routerd sets the forwarding switch of `nics` and writes the remote addresses into `route_tables`.
    `next_hop` is our name in a route there (ENI id, private address, private-IP OCID). `networks` are
    the prefixes of the cloud network itself, inside which AWS and OCI route no /32.
    """

    provider: str
    instance: str
    nics: tuple[Nic, ...]
    next_hop: str
    route_tables: tuple[RouteTableRef, ...] = ()
    networks: tuple[IPNetwork, ...] = ()


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
    prefix: IPNetwork = attrs.field(order=order)


@attrs.frozen(kw_only=True)
class FabricRoute:
    """A route in a cloud's route table; `next_hop` as in `InstanceFacts.next_hop`."""

    next_hop: str


@attrs.frozen(kw_only=True)
class Finding:
    """The result of one check of a cloud account.

    `subject` is a permission by the cloud's own name (`ec2:CreateRoute`) or a setting. The `state`
    `unknown` means that the API has no means to check it. `detail` says what the check found, and
    `remedy` says how to add the missing thing.
    """

    subject: str
    state: Literal["ok", "missing", "unknown"]
    detail: str = ""
    remedy: str = ""
