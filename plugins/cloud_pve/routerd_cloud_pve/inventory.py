"""A host's and its guests' state as values. Pure: parses the output of ip(8), without the API."""

import json
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd.model.fabric import NicRef, RouteTableRef
from routerd.model.route import ROUTE_PROTOCOL

_OUR_NAME = "routerd"
_BOOT = 3
"""The protocol of a route that was typed by hand; `ip` does not print it."""

_DROPS = {"6": "blackhole", "7": "unreachable", "8": "prohibit"}
"""Types of routes in linux/rtnetlink.h that lead nowhere."""


@attrs.frozen(kw_only=True)
class Done:
    """How a command in a guest ended; `truncated` if the agent kept only a part of its output."""

    status: int
    out: str
    err: str
    truncated: bool = False


@attrs.frozen(kw_only=True)
class Filter:
    """The part of a guest's firewall that drops packets from addresses other than the guest's own.

    `option` is the switch `ipfilter`. `sets` are the IP sets `ipfilter-netN`, which filter a NIC with or
    without the switch. Both are empty where the guest has no firewall, or no NIC with one. `digest` is of
    the options as they were read.
    """

    option: bool = False
    sets: tuple[str, ...] = ()
    digest: str = ""

    @property
    def forwarding(self) -> bool:
        """Say whether the packets that the guest forwards pass."""
        return not self.option and not self.sets


@attrs.frozen(kw_only=True)
class GuestRoute:
    """A route in a guest's main table; `gateway` is none for a route without one.

    `drops` names the type of a route that leads nowhere (`blackhole`), and is empty for any other.
    """

    prefix: IPv4Network
    gateway: IPv4Address | None
    protocol: int
    device: str
    drops: str = ""

    @property
    def next_hop(self) -> str:
        """Return the gateway of a route that carries routerd's mark, and words for any other route."""
        return str(self.gateway) if self.gateway and self.protocol == ROUTE_PROTOCOL else str(self)

    def __str__(self) -> str:
        way = f"dev {self.device}" if self.device else "no device"
        return f"{self.gateway or self.drops or way} (protocol {self.protocol})"


def parse(text: str) -> list[GuestRoute]:
    """Return the routes that `ip -j route show` printed; raises `ValueError` for anything else."""
    rows = json.loads(text.strip() or "[]")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("the JSON is not a list of routes")
    return [_route(row) for row in rows]


def _route(row: Mapping[str, object]) -> GuestRoute:
    destination = "0.0.0.0/0" if row.get("dst") == "default" else str(row.get("dst"))
    # A route over several next hops has a list instead of a gateway; routerd makes no such route.
    gateway = row.get("gateway")
    protocol = str(row.get("protocol", _BOOT))
    if protocol == _OUR_NAME:
        protocol = str(ROUTE_PROTOCOL)
    kind = str(row.get("type", ""))
    return GuestRoute(
        prefix=IPv4Network(destination),
        gateway=IPv4Address(str(gateway)) if gateway else None,
        protocol=int(protocol) if protocol.isdigit() else 0,
        device=str(row.get("dev", "")),
        drops=_DROPS.get(kind, kind if kind in _DROPS.values() else ""),
    )


def table_of(vmid: int) -> RouteTableRef:
    """Return the name of a guest's route table."""
    return RouteTableRef(f"qemu/{vmid}")


def nic_of(vmid: int) -> NicRef:
    """Return the name of a guest's forwarding switch."""
    return NicRef(f"qemu/{vmid}")
