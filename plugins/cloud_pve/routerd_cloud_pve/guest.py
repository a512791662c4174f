"""The routing table of a guest, read and changed with ip(8) from its own iproute2. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from urllib.parse import quote_plus

import attrs

from routerd.model.route import ROUTE_PROTOCOL

SHOW = ("ip", "-N", "-j", "-4", "route", "show")
SHOW_BY_NAME = ("ip", "-j", "-4", "route", "show")
"""The same where `ip` is older than 5.3 and does not know `-N`, numbers instead of names."""

BATCH = ("ip", "-4", "-force", "-batch", "-")
"""With `-force` one line that fails stops no other."""

_REQUEST_LIMIT = 48 * 1024
"""Bytes of lines in one request, as a form encodes them; the API takes 64 KiB with all else."""

_OUR_NAME = "routerd"
_FAILED = re.compile(r"Command failed -:(\d+)")


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
        if self.gateway is not None:
            way = f"via {self.gateway}"
        else:
            way = f"dev {self.device}" if self.device else "without a device"
        return f"{way}, protocol {self.protocol}"


@attrs.frozen
class Step:
    """One line for `BATCH`, and the prefix that it is about."""

    prefix: IPv4Network
    line: str


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
    protocol = str(row.get("protocol", ""))
    if protocol == _OUR_NAME:
        protocol = str(ROUTE_PROTOCOL)
    return GuestRoute(
        prefix=IPv4Network(destination),
        gateway=IPv4Address(str(gateway)) if gateway else None,
        protocol=int(protocol) if protocol.isdigit() else 0,
        device=str(row.get("dev", "")),
    )


def steps(
    add: Iterable[IPv4Network], remove: Iterable[IPv4Network], gateway: IPv4Address, device: str | None
) -> list[Step]:
    """Return the lines for `BATCH`: what goes first, then what comes.

    A deletion names gateway and protocol, so that the guest's kernel itself refuses it when the
    route became somebody else's meanwhile.
    """
    leads = f"via {gateway}"
    on = f" dev {device}" if device else ""
    gone = [Step(prefix, f"route del {prefix} {leads} proto {ROUTE_PROTOCOL}") for prefix in remove]
    come = [Step(prefix, f"route add {prefix} {leads}{on} proto {ROUTE_PROTOCOL}") for prefix in add]
    return gone + come


def portions(wanted: Sequence[Step]) -> Iterator[list[Step]]:
    """Yield the steps in portions that fit into one request each."""
    portion: list[Step] = []
    size = 0
    for step in wanted:
        length = len(quote_plus(step.line + "\n"))
        if portion and size + length > _REQUEST_LIMIT:
            yield portion
            portion, size = [], 0
        portion.append(step)
        size += length
    if portion:
        yield portion


def script(portion: Sequence[Step]) -> str:
    """Return the input of `BATCH`."""
    return "".join(f"{step.line}\n" for step in portion)


def complaints(portion: Sequence[Step], said: str) -> dict[IPv4Network, str]:
    """Return what `BATCH` said about each prefix whose line failed."""
    found: dict[IPv4Network, str] = {}
    words = ""
    for line in said.splitlines():
        failed = _FAILED.search(line)
        if failed is None:
            words = words or line.strip()
            continue
        number = int(failed[1])
        if 0 < number <= len(portion):
            found[portion[number - 1].prefix] = words or "ip refused it"
        words = ""
    return found
