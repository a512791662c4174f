"""The record of a run: what was configured, what was seen, packed without a single secret."""

import asyncio
import contextlib
import hashlib
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs
import yaml

from routerd_lab.events import Check
from routerd_lab.matrix import Pair
from routerd_lab.namespaces import Machine
from routerd_lab.patience import patient
from routerd_lab.routers import RUN_DIR, Disks
from routerd_lab.topology import Node, Topology
from routerd_lab.world import look

BOUNDARY_FILE = "pre-deploy-config-boundary-check.txt"
_PACKED = ("configs", "evidence")
_STATUS_SECONDS = 20.0


@attrs.frozen(kw_only=True)
class Bundle:
    """The packed evidence and its digest."""

    tarball: Path
    sha256: str


def check_boundary(topology: Topology, disks: Disks) -> Check:
    """Check that no route reflector's file names a leaf, and record the counts."""
    evidence = disks.run_dir / "evidence"
    lines = []
    offences = []
    for node in topology.routers:
        kinds = _kinds(disks.config(node))
        counted = {kind: kinds.count(kind) for kind in ("SAMEnrollmentClaim", "BGPPeer", "WireGuardPeer")}
        lines.append(f"{node.name}: " + ", ".join(f"{kind} {count}" for kind, count in counted.items()))
        if node.role == "rr":
            offences += [f"{node.name} has {count} {kind}" for kind, count in counted.items() if count]
            text = disks.config(node).read_text(encoding="utf-8")
            keys = [leaf.name for leaf in topology.leaves if f"name: {leaf.name}" in text]
            offences += [f"{node.name} names {name}" for name in keys]
    lines.append(
        "PASS: the route reflector's file has no claim and no peer of any leaf"
        if not offences
        else f"FAIL: {offences}"
    )
    (evidence / BOUNDARY_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (evidence / "node-by-node-config-explanation.md").write_text(_explain(topology, disks), encoding="utf-8")
    return Check(
        name="the route reflector's file has no claim and no peer of any leaf",
        passed=not offences,
        detail="; ".join(offences),
    )


def _kinds(path: Path) -> list[str]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [resource["kind"] for resource in document["spec"]["resources"]]


_MEANING = {
    "WireGuardInterface": "the encrypted underlay; the key stays in its file",
    "IPv4StaticAddress": "the router's address inside WireGuard, the outer end of its tunnels",
    "SAMTransportProfile": "one tunnel, of the mode that it names, for each peer that the source yields",
    "BGPRouter": "the BGP speaker",
    "BGPDynamicPeer": "passive sessions with every admitted leaf, as route-reflector clients",
    "SAMNodeSet": "the route reflectors as leaves learn of them",
    "SAMEnrollmentPolicy": "the leaves that may join, their addresses, and the token that proves them",
    "SAMEnrollmentClaim": "the claim of this leaf: its tunnel address, its key, its client's address",
    "SAMEnrollmentClient": "where this leaf enrolls, and the token by which it signs",
    "ControlAPI": "the enrollment listener, for the addresses from which leaves come",
    "CloudProviderProfile": "the cloud in which this router sets its forwarding switch and routes",
}


def _explain(topology: Topology, disks: Disks) -> str:
    parts = ["# What each node is configured to do, and why\n"]
    for site, node in topology.nodes():
        where = ", ".join(
            f"{nic.device} {nic.address}" + (f" (public {nic.public})" if nic.public else "")
            for nic in node.nics
        )
        parts.append(f"## {node.name} ({node.role}, {site.name})\n\n{where}\n")
        if not node.is_router:
            parts.append(
                "An ordinary host without routerd and without configuration. "
                f"The fabric carries it as {node.owned}/32.\n"
            )
            continue
        kinds = _kinds(disks.config(node))
        parts.append(
            "\n".join(
                f"- `{kind}` x {kinds.count(kind)}: {_MEANING.get(kind, 'as documented')}"
                for kind in dict.fromkeys(kinds)
            )
            + "\n"
        )
    return "\n".join(parts)


async def collect(
    topology: Topology,
    machines: Mapping[str, Machine],
    disks: Disks,
    *,
    checks: Iterable[Check],
    pairs: Iterable[Pair],
    error: str,
) -> Bundle:
    """Write down the present state and pack it."""
    evidence = disks.run_dir / "evidence"
    _write(evidence / "client-matrix.txt", (_pair_line(pair) for pair in pairs))
    lines = [f"{'PASS' if check.passed else 'FAIL'} {check.name} {check.detail}".rstrip() for check in checks]
    _write(evidence / "assertions.txt", [*lines, *([f"ERROR {error}"] if error else [])])
    _write(evidence / "links.txt", await _links(topology, machines))
    _write(evidence / "convergence-status.txt", await _convergence(topology, machines, disks))
    _write(evidence / "provider-routing-summary.txt", await _provider_summary(topology, machines, disks))
    statuses = await asyncio.gather(*(_status(machines[node.name], node) for node in topology.routers))
    _write(evidence / "final-routerd-status.txt", statuses)
    return await asyncio.to_thread(_pack, disks.run_dir)


def _pair_line(pair: Pair) -> str:
    words = ["ok" if way else "FAIL" for way in (pair.ping, pair.ssh)]
    return f"{pair.source} -> {pair.target}: ping {words[0]}, ssh {words[1]} {pair.detail}".rstrip()


async def _convergence(topology: Topology, machines: Mapping[str, Machine], disks: Disks) -> list[str]:
    world = await look(topology, machines, disks.run_dir / "sites")
    lines = []
    for name, sessions in world.sessions.items():
        for session in sessions:
            verb = "dialled" if session.dialled else "accepted from"
            lines.append(f"{name}: BGP established, {session.local} {verb} {session.remote}")
    for name, routes in world.routes.items():
        lines += [f"{name}: {route.prefix} via {route.gateway} dev {route.device}" for route in routes]
    return lines


async def _links(topology: Topology, machines: Mapping[str, Machine]) -> list[str]:
    """Return every device of every router by its kind in the kernel; `tun` belongs to a program."""
    lines = []
    for node in topology.routers:
        text = await machines[node.name].run("ip", "-d", "-j", "link", "show")
        for link in json.loads(text):
            kind = link.get("linkinfo", {}).get("info_kind", "")
            owner = link.get("ifalias", "")
            lines.append(f"{node.name}: {link['ifname']} {kind} mtu {link['mtu']} {owner}".rstrip())
    return lines


async def _provider_summary(topology: Topology, machines: Mapping[str, Machine], disks: Disks) -> list[str]:
    world = await look(topology, machines, disks.run_dir / "sites")
    lines = []
    for site in topology.sites:
        if site.masquerade:
            guests = ", ".join(map(str, sorted(world.guest_routes))) or "none"
            lines.append(f"{site.name}: {site.client.name} routes by way of the leaf: {guests}")
            continue
        controls = world.clouds[site.name]
        for port in controls.ports:
            state = "forwarding on" if port.forwarding else "source and destination checked"
            lines.append(f"{site.name}: NIC {port.address} ({port.subnet}): {state}")
        for subnet, table in controls.tables.items():
            lines += [
                f"{site.name}: {subnet}: {prefix} -> {hop or 'internet'}" for prefix, hop in table.items()
            ]
    return lines


async def _status(machine: Machine, node: Node) -> str:
    """Return the daemon's own status, for the record; the verdict does not use it.

    It comes from the admin socket: five processes of `routerd status` would take a tenth of the run.
    """
    path = machine.path(str(RUN_DIR / "routerd.sock"))
    try:
        async with asyncio.timeout(patient(_STATUS_SECONDS)):
            reader, writer = await asyncio.open_unix_connection(path)
            with contextlib.closing(writer):
                writer.write(b"GET /v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = (await reader.read()).decode(errors="replace")
    except OSError as exc:
        return f"== {node.name}\nno answer: {str(exc) or type(exc).__name__}"
    document = answer.partition("\r\n\r\n")[2]
    with contextlib.suppress(ValueError):
        document = json.dumps(json.loads(document), indent=2)
    return f"== {node.name}\n{document or answer}"


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _pack(run_dir: Path) -> Bundle:
    """Pack configurations and evidence; keys, tokens and state never enter the archive."""
    tarball = run_dir / f"{run_dir.name}-evidence-no-secrets.tar.gz"
    with tarfile.open(tarball, "w:gz") as archive:
        for part in _PACKED:
            archive.add(run_dir / part, arcname=f"{run_dir.name}/{part}")
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    tarball.with_name(f"{tarball.name}.sha256").write_text(f"{digest}  {tarball.name}\n", encoding="ascii")
    return Bundle(tarball=tarball, sha256=digest)
