"""The world as it is, read from kernels and from the clouds' state, and never from a daemon's status."""

import asyncio
import json
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import cattrs

from routerd_lab.enforce import Controls
from routerd_lab.namespaces import Machine
from routerd_lab.topology import Node, Topology

BGP_PORT = 179
ROUTE_PROTOCOLS = ("147", "routerd")
"""How `ip` prints the protocol of routerd's routes: by number, or by name where the host knows one."""

_TCP_ESTABLISHED = "01"


@attrs.frozen(kw_only=True)
class Session:
    """An established TCP connection of BGP, as one end's kernel has it."""

    local: IPv4Address
    remote: IPv4Address
    dialled: bool


@attrs.frozen(kw_only=True)
class LearnedRoute:
    """A route that routerd put into a kernel."""

    prefix: IPv4Network
    device: str
    gateway: IPv4Address | None


@attrs.frozen(kw_only=True)
class World:
    """One reading of the world. Keys are names of machines and of sites."""

    sessions: Mapping[str, tuple[Session, ...]]
    routes: Mapping[str, tuple[LearnedRoute, ...]]
    clouds: Mapping[str, Controls]
    guest_routes: frozenset[IPv4Network]

    def has_route(self, router: str, prefix: IPv4Network) -> bool:
        """Say whether the router's kernel holds the route."""
        return any(route.prefix == prefix for route in self.routes.get(router, ()))


async def look(topology: Topology, machines: Mapping[str, Machine], sites: Path) -> World:
    """Read the world once. `sites` is the directory in which each cloud leaves its state."""
    routers = topology.routers
    routes = await asyncio.gather(*(_routes(machines[router.name]) for router in routers))
    guest: frozenset[IPv4Network] = frozenset()
    for site in topology.sites:
        if site.masquerade:
            guest |= await _guest_routes(machines[site.client.name], site.leaf)
    return World(
        sessions={node.name: _sessions(machines[node.name]) for node in topology.routers},
        routes={router.name: found for router, found in zip(routers, routes, strict=True)},
        clouds={site.name: read_controls(sites, site.name) for site in topology.sites if not site.masquerade},
        guest_routes=guest,
    )


def write_controls(sites: Path, name: str, controls: Controls) -> None:
    """Write what a cloud enforces to the file that `look` reads, in one step."""
    new = sites / f".{name}.json"
    new.write_text(json.dumps(_converter().unstructure(controls), indent=2), encoding="utf-8")
    new.replace(sites / f"{name}.json")


def read_controls(sites: Path, name: str) -> Controls:
    """Return what a cloud enforces; nothing before it has started."""
    path = sites / f"{name}.json"
    if not path.exists():
        return Controls(ports=(), tables={})
    return _converter().structure(json.loads(path.read_text(encoding="utf-8")), Controls)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for kind in (IPv4Address, IPv4Network):
        converter.register_unstructure_hook(kind, str)
        converter.register_structure_hook(kind, lambda text, to: to(text))
    return converter


def _sessions(machine: Machine) -> tuple[Session, ...]:
    """Return the BGP connections of a machine (proc(5), /proc/PID/net/tcp)."""
    lines = Path(f"/proc/{machine.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    found = []
    for line in lines:
        _, local, remote, state, *_ = line.split()
        (here, here_port), (there, there_port) = _end(local), _end(remote)
        if state == _TCP_ESTABLISHED and BGP_PORT in {here_port, there_port}:
            found.append(Session(local=here, remote=there, dialled=there_port == BGP_PORT))
    return tuple(found)


def _end(text: str) -> tuple[IPv4Address, int]:
    address, _, port = text.partition(":")
    return IPv4Address(bytes.fromhex(address)[::-1]), int(port, 16)


async def _routes(machine: Machine) -> tuple[LearnedRoute, ...]:
    rows = await _ip_routes(machine)
    return tuple(
        LearnedRoute(
            prefix=IPv4Network(row["dst"]),
            device=row.get("dev", ""),
            gateway=IPv4Address(row["gateway"]) if "gateway" in row else None,
        )
        for row in rows
        if str(row.get("protocol")) in ROUTE_PROTOCOLS and row["dst"] != "default"
    )


async def _guest_routes(machine: Machine, leaf: Node) -> frozenset[IPv4Network]:
    """Return the routes inside a guest that lead to the site's leaf."""
    gateways = {str(nic.address.ip) for nic in leaf.nics}
    rows = await _ip_routes(machine)
    return frozenset(
        IPv4Network(row["dst"]) for row in rows if row.get("gateway") in gateways and row["dst"] != "default"
    )


async def _ip_routes(machine: Machine) -> list[dict[str, Any]]:  # Any: JSON as `ip` prints it
    text = await machine.run("ip", "-N", "-j", "-4", "route", "show")
    rows: list[dict[str, Any]] = json.loads(text or "[]")  # Any: as above
    return rows
