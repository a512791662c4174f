"""The routing table of a guest, read and changed with ip(8) from its own iproute2. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from urllib.parse import quote_plus

import attrs

from routerd.model.route import ROUTE_PROTOCOL

SHOW = ("ip", "-N", "-j", "-4", "route", "show")
SHOW_BY_NAME = ("ip", "-j", "-4", "route", "show")
"""The same where `ip` is older than 5.3 and does not know `-N`, numbers instead of names."""

BATCH = ("ip", "-N", "-j", "-4", "-force", "-batch", "-")
BATCH_BY_NAME = ("ip", "-j", "-4", "-force", "-batch", "-")
"""With `-force` one line that fails stops no other. The options are for the last line, which shows."""

_READ_AGAIN = "route show"

_REQUEST_LIMIT = 48 * 1024
"""Bytes of lines in one request, as a form encodes them; the API takes 64 KiB with all else."""

_OUR_NAME = "routerd"
_BOOT = 3
"""The protocol of a route that somebody typed; `ip` does not show it."""

_DROPS = {"6": "blackhole", "7": "unreachable", "8": "prohibit"}
"""Types of routes in linux/rtnetlink.h that lead nowhere."""

_FAILED = re.compile(r"Command failed -:(\d+)")


@attrs.frozen(kw_only=True)
class GuestRoute:
    """A route in a guest's main table; `gateway` is none for one without.

    `drops` is how a route is called that leads nowhere (`blackhole`), and empty for any other.
    """

    prefix: IPv4Network
    gateway: IPv4Address | None
    protocol: int
    device: str
    drops: str = ""

    def leads_to(self, gateway: IPv4Address) -> bool:
        """Say whether the route carries routerd's mark and leads to a router."""
        return self.protocol == ROUTE_PROTOCOL and self.gateway == gateway

    def __str__(self) -> str:
        if self.gateway is not None:
            way = f"via {self.gateway}"
        else:
            way = self.drops or (f"dev {self.device}" if self.device else "without a device")
        return f"{way}, protocol {self.protocol}"


@attrs.frozen
class Step:
    """Lines for `BATCH` about one prefix, and where its route leads when they have done their work."""

    prefix: IPv4Network
    lines: tuple[str, ...]
    to: IPv4Address | None


def appears(prefix: IPv4Network, gateway: IPv4Address, device: str | None) -> Step:
    """Return how a route is made; the guest's kernel refuses when there is one with the same metric."""
    return Step(prefix, (_add(prefix, gateway, device),), gateway)


def goes(prefix: IPv4Network, gateway: IPv4Address) -> Step:
    """Return how a route is removed; the kernel refuses when it became somebody else's meanwhile."""
    return Step(prefix, (_delete(prefix, gateway),), None)


def moves(prefix: IPv4Network, old: IPv4Address, new: IPv4Address, device: str | None) -> Step:
    """Return how a route is led to another router.

    `ip route replace` would replace whatever is there by then. These two lines follow each other in
    some microseconds, and the kernel refuses the second unless the first has removed what was read.
    """
    return Step(prefix, (_delete(prefix, old), _add(prefix, new, device)), new)


def _add(prefix: IPv4Network, gateway: IPv4Address, device: str | None) -> str:
    on = f" dev {device}" if device else ""
    return f"route add {prefix} via {gateway}{on} proto {ROUTE_PROTOCOL}"


def _delete(prefix: IPv4Network, gateway: IPv4Address) -> str:
    return f"route del {prefix} via {gateway} proto {ROUTE_PROTOCOL}"


def too_old(said: str) -> bool:
    """Say whether `ip` refused `-N`."""
    return 'Option "-N" is unknown' in said


def parse(text: str) -> list[GuestRoute]:
    """Return the routes that `SHOW` printed; `ValueError` when it is something else."""
    rows = json.loads(text.strip() or "[]")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is no list of routes")
    return [_route(row) for row in rows]


def _route(row: Mapping[str, object]) -> GuestRoute:
    destination = "0.0.0.0/0" if row.get("dst") == "default" else str(row.get("dst"))
    # A route over several next hops has a list instead, and is not ours.
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


def portions(wanted: Sequence[Step]) -> Iterator[list[Step]]:
    """Yield the steps in portions that fit into one request each."""
    portion: list[Step] = []
    size = 0
    for step in wanted:
        length = sum(len(quote_plus(line + "\n")) for line in step.lines)
        if portion and size + length > _REQUEST_LIMIT:
            yield portion
            portion, size = [], 0
        portion.append(step)
        size += length
    if portion:
        yield portion


def script(portion: Sequence[Step]) -> str:
    """Return the input of `BATCH`, which shows in its last line what came of the others."""
    lines = [line for step in portion for line in step.lines]
    return "".join(f"{line}\n" for line in [*lines, _READ_AGAIN])


def complaints(portion: Sequence[Step], said: str) -> dict[IPv4Network, str]:
    """Return what `BATCH` said about each prefix whose line failed."""
    about = [step.prefix for step in portion for _ in step.lines]
    found: dict[IPv4Network, str] = {}
    words = ""
    for line in said.splitlines():
        failed = _FAILED.search(line)
        if failed is None:
            words = words or line.strip()
            continue
        number = int(failed[1])
        if 0 < number <= len(about):
            found[about[number - 1]] = words or "ip refused it"
        words = ""
    return found
