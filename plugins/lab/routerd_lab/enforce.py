"""The packets that a cloud's fabric lets through, computed from its API's state and put into the kernel.

Two rules, as in every cloud: a NIC may send only from its own address and receive only what is
addressed to it, unless forwarding is switched on for it; and a packet from a subnet goes where
that subnet's route table says. So a call to the API that was not made is a packet that is lost.
`plan` is pure; `Enforcer` runs inside the site's fabric namespace.
"""

import asyncio
import subprocess
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

import attrs

from routerd_lab.namespaces import LabError
from routerd_lab.patience import patient
from routerd_lab.topology import UPLINK

_FIRST_TABLE = 1000
_FIRST_PREFERENCE = 10000
_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class Port:
    """A NIC as the fabric sees it: its device, its address, and whether the fabric checks addresses."""

    device: str
    address: IPv4Address
    subnet: str
    forwarding: bool


@attrs.frozen(kw_only=True)
class Controls:
    """Everything that the API holds and the fabric enforces.

    `tables` has the route table of each subnet; a next hop is the address of a NIC in this
    network, or none for the internet. Routes within the network are implicit.
    """

    ports: tuple[Port, ...]
    tables: Mapping[str, Mapping[IPv4Network, IPv4Address | None]]


@attrs.frozen(kw_only=True)
class Plan:
    """The same as commands: an nft script that replaces the filter at once, rules, and routes.

    A route is kept as its key (`PREFIX table N`) and the rest, so that a new next hop replaces the
    old one without a gap.
    """

    filter: str
    rules: tuple[str, ...]
    routes: Mapping[str, str]


def plan(controls: Controls, upstream: IPv4Address) -> Plan:
    """Return what the kernel must hold for these controls; `upstream` leads to the internet."""
    by_address = {port.address: port for port in controls.ports}
    numbers = {name: _FIRST_TABLE + index for index, name in enumerate(sorted(controls.tables))}
    routes: dict[str, str] = {}
    for name, table in controls.tables.items():
        number = numbers[name]
        # A packet without a route ends here and not in the fabric's own main table.
        routes[f"default metric 4294967295 table {number}"] = "blackhole"
        for port in controls.ports:
            routes[f"{port.address}/32 table {number}"] = f"unicast dev {port.device}"
        for prefix, next_hop in table.items():
            key = f"{prefix} table {number}"
            if next_hop is None:
                routes[key] = f"unicast via {upstream} dev {UPLINK}"
            elif next_hop in by_address:
                routes[key] = f"unicast via {next_hop} dev {by_address[next_hop].device} onlink"
            else:
                # The next hop is gone: clouds keep the route and drop the packets.
                routes[key] = "blackhole"
    rules = tuple(
        f"pref {_FIRST_PREFERENCE + index} iif {port.device} lookup {numbers[port.subnet]}"
        for index, port in enumerate(sorted(controls.ports, key=lambda port: port.device))
        if port.subnet in numbers
    )
    return Plan(filter=_filter(controls.ports), rules=rules, routes=routes)


def _filter(ports: tuple[Port, ...]) -> str:
    """Return the nft script; it replaces the table in one transaction (nft(8), `-f`)."""
    lines = []
    for port in sorted(ports, key=lambda port: port.device):
        if port.forwarding:
            continue
        lines.append(
            f'iifname "{port.device}" ip saddr != {port.address} counter drop comment "foreign source"'
        )
        lines.append(
            f'oifname "{port.device}" ip daddr != {port.address} counter drop comment "foreign destination"'
        )
    body = "\n        ".join(lines)
    return f"""
table ip lab_fabric
delete table ip lab_fabric
table ip lab_fabric {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        {body}
    }}
}}
"""


class Feed(Protocol):
    """Runs a command with `text` as its input in the fabric's namespace; raises `LabError` if it fails."""

    async def __call__(self, *command: str, text: str) -> object:
        """Run the command to its end."""


class Enforcer:
    """Keeps a fabric's kernel as the controls say. Calls must not overlap."""

    def __init__(self, upstream: IPv4Address, feed: Feed | None = None) -> None:
        self._upstream = upstream
        self._feed = feed or feed_here
        self._applied: Plan | None = None

    async def apply(self, controls: Controls) -> bool:
        """Make the kernel follow; return whether anything changed. Raises `LabError`."""
        wanted = plan(controls, self._upstream)
        before = self._applied
        if wanted == before:
            return False
        old_routes = before.routes if before else {}
        old_rules = before.rules if before else ()
        lines = []
        for key, rest in wanted.routes.items():
            if old_routes.get(key) != rest:
                kind, _, hop = rest.partition(" ")
                lines.append(f"route replace {kind} {key} {hop}")
        lines += [f"route del {key}" for key in old_routes if key not in wanted.routes]
        lines += [f"rule del {rule}" for rule in old_rules if rule not in wanted.rules]
        lines += [f"rule add {rule}" for rule in wanted.rules if rule not in old_rules]
        if lines:
            await self._feed("ip", "-batch", "-", text="\n".join(lines) + "\n")
        if before is None or wanted.filter != before.filter:
            await self._feed("nft", "-f", "-", text=wanted.filter)
        self._applied = wanted
        return True


async def feed_here(*command: str, text: str) -> None:
    """Run a command here, for an enforcer that lives in the fabric itself."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(patient(_SECONDS)):
        _, err = await process.communicate(text.encode())
    if process.returncode:
        raise LabError(f"fabric: {' '.join(command)} failed; {err.decode(errors='replace').strip()}")
