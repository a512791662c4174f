"""The routing table of a guest, read and changed with ip(8) from its own iproute2. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd.model.route import ROUTE_PROTOCOL

SHOW = ("ip", "-N", "-j", "-4", "route", "show")
BATCH = ("ip", "-4", "-force", "-batch", "-")
"""With `-force` one line that fails stops no other."""


@attrs.frozen(kw_only=True)
class GuestRoute:
    """A route in a guest's main table; `gateway` is none for one without."""

    prefix: IPv4Network
    gateway: IPv4Address | None
    protocol: int
    device: str

    def is_ours(self, gateway: IPv4Address) -> bool:
        """Say whether the route carries our mark and leads to us."""
        return self.protocol == ROUTE_PROTOCOL and self.gateway == gateway

    def __str__(self) -> str:
        via = f"via {self.gateway}" if self.gateway is not None else f"dev {self.device}"
        return f"{via}, protocol {self.protocol}"


def parse(text: str) -> list[GuestRoute]:
    """Return the routes that `SHOW` printed; `ValueError` when it is something else."""
    rows = json.loads(text or "[]")
    routes = []
    for row in rows:
        destination = "0.0.0.0/0" if row["dst"] == "default" else row["dst"]
        gateway = row.get("gateway")
        routes.append(
            GuestRoute(
                prefix=IPv4Network(destination),
                gateway=IPv4Address(gateway) if gateway else None,
                # Without -N support (before iproute2 4.17) names come instead of numbers.
                protocol=int(row["protocol"]) if str(row.get("protocol", "")).isdigit() else 0,
                device=str(row.get("dev", "")),
            )
        )
    return routes


def batch(
    add: Iterable[IPv4Network], remove: Iterable[IPv4Network], gateway: IPv4Address, device: str
) -> str:
    """Return the lines for `BATCH`: what goes first, then what comes."""
    tail = f"via {gateway} dev {device} proto {ROUTE_PROTOCOL}"
    lines = [f"route del {prefix} {tail}" for prefix in remove]
    lines += [f"route add {prefix} {tail}" for prefix in add]
    return "\n".join(lines) + "\n"
