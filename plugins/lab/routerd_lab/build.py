"""Makes the machines of a topology and lays the underlay between them; starts nothing in them."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import attrs

from routerd_lab.namespaces import Machine, MachineSpec, make_machine
from routerd_lab.topology import INTERNET, Topology
from routerd_lab.underlay import (
    FABRIC_SYSCTLS,
    NODE_SYSCTLS,
    ORACLE_IMAGE_RULES,
    fabric_commands,
    fabric_sysctls,
    internet_commands,
    internet_rules,
    node_commands,
    public_rules,
    wan_commands,
    wire_commands,
)


@attrs.frozen(kw_only=True)
class NodeFiles:
    """The files on a node's disk that the host does not have."""

    files: Mapping[Path, str] = attrs.field(factory=dict)
    binds: Mapping[Path, Path] = attrs.field(factory=dict)


def make_machines(topology: Topology, disks: Mapping[str, NodeFiles]) -> dict[str, Machine]:
    """Make every machine without connections; call this before the process starts a second thread."""
    machines = {INTERNET: make_machine(MachineSpec(name=INTERNET, sysctls=FABRIC_SYSCTLS))}
    for site in topology.sites:
        machines[site.fabric] = make_machine(MachineSpec(name=site.fabric, sysctls=FABRIC_SYSCTLS))
    for wan in topology.wans:
        machines[wan.name] = make_machine(MachineSpec(name=wan.name, sysctls=FABRIC_SYSCTLS))
    for _, node in topology.nodes():
        disk = disks.get(node.name, NodeFiles())
        machines[node.name] = make_machine(
            MachineSpec(name=node.name, sysctls=NODE_SYSCTLS, files=disk.files, binds=disk.binds)
        )
    return machines


async def lay_underlay(topology: Topology, machines: Mapping[str, Machine]) -> None:
    """Connect the machines and give them addresses, public addresses and the internet."""
    internet = machines[INTERNET]
    holders = {name: machine.pid for name, machine in machines.items()}
    await _batch(internet, wire_commands(topology, holders))
    async with asyncio.TaskGroup() as group:
        group.create_task(_batch(internet, internet_commands(topology)))
        group.create_task(_nft(internet, internet_rules()))
        for wan in topology.wans:
            group.create_task(_batch(machines[wan.name], wan_commands(wan)))
        for site in topology.sites:
            fabric = machines[site.fabric]
            group.create_task(_batch(fabric, fabric_commands(site)))
            group.create_task(_nft(fabric, public_rules(site)))
            for node in site.nodes:
                group.create_task(_batch(machines[node.name], node_commands(node, topology.wans)))
            if settings := fabric_sysctls(site):
                group.create_task(_run(fabric, "sysctl", "-q", "-w", *settings))
            if site.name == "oci":
                leaf = machines[site.leaf.name]
                group.create_task(_run(leaf, "iptables-restore", text=ORACLE_IMAGE_RULES))


async def _batch(machine: Machine, lines: list[str]) -> None:
    await _run(machine, "ip", "-batch", "-", text="\n".join(lines) + "\n")


async def _nft(machine: Machine, script: str) -> None:
    await _run(machine, "nft", "-f", "-", text=script)


async def _run(machine: Machine, *command: str, text: str = "") -> None:
    await machine.run(*command, text=text)
