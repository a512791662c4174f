"""The lab with wires in place of tunnels, to prove that each control of a fabric matters.

Not a test itself: `test_lab_controls.py` runs it as a process of its own, because a sandbox must
be entered with one thread. It builds the real machines, underlay and enforcement, joins the
leaves by one Ethernet, sets by hand what five routerd would set, and then takes one control away
after the other. It prints one JSON object: the failing pairs of each case.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs

from routerd_lab import sandbox
from routerd_lab.build import lay_underlay, make_machines
from routerd_lab.client import SshKeys, client_disk, start_sshd
from routerd_lab.enforce import Controls, Enforcer, Port
from routerd_lab.matrix import measure
from routerd_lab.namespaces import Machine
from routerd_lab.topology import FULLMESH, INTERNET, Node, Site

EVERYWHERE = IPv4Network("0.0.0.0/0")
OCI_ACCEPT = ("FORWARD", "-m", "comment", "--comment", "routerd", "-j", "ACCEPT")


def controls_of(site: Site) -> Controls:
    """Return what the site's API holds when everything is as it must be."""
    ports = tuple(
        Port(
            device=node.primary.port,
            address=node.primary.address.ip,
            subnet=site.name,
            forwarding=node.is_router,
        )
        for node in site.nodes
    )
    table: dict[IPv4Network, IPv4Address | None] = {EVERYWHERE: None}
    table |= dict.fromkeys(FULLMESH.remote_prefixes(site), site.leaf.primary.address.ip)
    return Controls(ports=ports, tables={site.name: table})


class Scenario:
    """The running lab and what is set in it."""

    def __init__(self, machines: Mapping[str, Machine]) -> None:
        self.machines = machines
        self.controls = {site.name: controls_of(site) for site in FULLMESH.sites if not site.masquerade}
        self.enforcers = {
            site.name: Enforcer(site.upstream.ip, machines[site.fabric].run)
            for site in FULLMESH.sites
            if not site.masquerade
        }

    async def set_all(self) -> None:
        """Set every control and join the leaves."""
        for name, enforcer in self.enforcers.items():
            await enforcer.apply(self.controls[name])
        switch = self.machines[INTERNET]
        await switch.run("ip", "link", "add", "standin", "type", "bridge", "forward_delay", "0")
        await switch.run("ip", "link", "set", "standin", "up")
        for number, leaf in enumerate(FULLMESH.leaves, start=1):
            await self._join(leaf, number)
        await self.run("oci-leaf", "iptables", "-I", *OCI_ACCEPT)
        for prefix in FULLMESH.remote_prefixes(FULLMESH.site_of("pve-client")):
            await self.guest_route("add", prefix)

    async def _join(self, leaf: Node, number: int) -> None:
        here, there = self.machines[INTERNET].pid, self.machines[leaf.name].pid
        port = f"standin{number}"
        add = f"link add {port} netns {here} type veth peer name standin netns {there}"
        await self.run(INTERNET, "ip", *add.split())
        await self.run(INTERNET, "ip", "link", "set", port, "master", "standin", "up")
        await self.run(leaf.name, "ip", "address", "add", f"100.64.0.{number}/24", "dev", "standin")
        await self.run(leaf.name, "ip", "link", "set", "standin", "up")
        await self.run(leaf.name, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        for other_number, other in enumerate(FULLMESH.sites, start=1):
            if other.leaf is not leaf:
                via = f"100.64.0.{other_number}"
                await self.run(leaf.name, "ip", "route", "add", f"{other.client.owned}/32", "via", via)

    async def run(self, machine: str, *command: str) -> None:
        await self.machines[machine].run(*command)

    async def guest_route(self, verb: str, prefix: IPv4Network) -> None:
        route = ("ip", "route", verb, str(prefix), "via", "10.99.9.1", "dev", "ens19")
        await self.run("pve-client", *route)

    async def change(self, site: str, controls: Controls) -> None:
        assert await self.enforcers[site].apply(controls)

    async def without_forwarding(self, site: str) -> None:
        """Switch the leaf's NIC back to checking source and destination."""
        leaf = FULLMESH.site_of(f"{site}-leaf").leaf.primary.address.ip
        before = self.controls[site]
        ports = tuple(
            attrs.evolve(port, forwarding=port.forwarding and port.address != leaf) for port in before.ports
        )
        await self.change(site, attrs.evolve(before, ports=ports))

    async def without_route(self, site: str, prefix: IPv4Network) -> None:
        """Take one route out of the site's table."""
        before = self.controls[site]
        table = {key: value for key, value in before.tables[site].items() if key != prefix}
        await self.change(site, attrs.evolve(before, tables={site: table}))

    async def restore(self, site: str) -> None:
        await self.change(site, self.controls[site])

    async def failing(self, *, ssh: bool = False, seconds: int = 1) -> list[str]:
        """Return the directed pairs that do not work, in the topology's order."""
        pairs = await measure(FULLMESH, self.machines, seconds=seconds, ssh=ssh)
        return [f"{pair.source}>{pair.target}" for pair in pairs if not pair.passed]


Step = Callable[[], Awaitable[None]]


def cases(lab: Scenario) -> dict[str, tuple[Step, Step]]:
    """Return each control as (take away, give back)."""
    pve_client = IPv4Network("10.99.9.10/32")
    aws_client = IPv4Network("10.81.10.20/32")
    found: dict[str, tuple[Step, Step]] = {
        "oci forward accept": (
            lambda: lab.run("oci-leaf", "iptables", "-D", *OCI_ACCEPT),
            lambda: lab.run("oci-leaf", "iptables", "-I", *OCI_ACCEPT),
        ),
        "pve guest route": (
            lambda: lab.guest_route("del", aws_client),
            lambda: lab.guest_route("add", aws_client),
        ),
    }
    for site in lab.controls:
        found[f"{site} forwarding"] = (
            lambda site=site: lab.without_forwarding(site),
            lambda site=site: lab.restore(site),
        )
        found[f"{site} route"] = (
            lambda site=site: lab.without_route(site, pve_client),
            lambda site=site: lab.restore(site),
        )
    return found


async def play(machines: Mapping[str, Machine], keys: SshKeys) -> dict[str, list[str]]:
    """Build everything, then take away one control after the other."""
    await keys.make()
    await lay_underlay(FULLMESH, machines)
    async with asyncio.TaskGroup() as group:
        for client in FULLMESH.clients:
            group.create_task(start_sshd(machines[client.name], keys.directory / f"{client.name}.log"))
    lab = Scenario(machines)
    results = {"nothing set": await lab.failing()}
    await lab.set_all()
    results["all set"] = await lab.failing(ssh=True, seconds=5)
    for name, (take, give) in cases(lab).items():
        await take()
        results[name] = await lab.failing()
        await give()
    results["all set again"] = await lab.failing(ssh=True, seconds=5)
    return results


def main() -> int:
    """Run in the sandbox; print the results."""
    with tempfile.TemporaryDirectory(prefix="routerd-lab-") as scratch:
        keys = SshKeys(directory=Path(scratch, "ssh"))
        disks = {client.name: client_disk(keys.directory) for client in FULLMESH.clients}
        keys.directory.mkdir(mode=0o700)
        machines = make_machines(FULLMESH, disks)
        sys.stdout.write(json.dumps(asyncio.run(play(machines, keys))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(sandbox.enter(main, started=lambda _pid: None))
