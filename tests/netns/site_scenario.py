"""Two leaves at one site of the lab, the active one of which is killed, cut off, and comes back.

Not a test itself: `test_redundant_leaves.py` runs it as a process of its own, because a sandbox must be
entered with one thread. The machines, the underlay, the clouds and the daemons are the lab's; the
fabric of the site forwards by the table that its cloud's API holds. It prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs

from routerd_lab import sandbox
from routerd_lab.build import NodeFiles, lay_underlay, make_machines
from routerd_lab.cloud_process import serve
from routerd_lab.clouds_run import CloudFiles
from routerd_lab.namespaces import Machine
from routerd_lab.patience import patient
from routerd_lab.requirements import SBIN
from routerd_lab.routers import Disks, from_examples, routerd_command, start_daemon
from routerd_lab.topology import AWS, AZURE, Nic, Node, Topology
from routerd_lab.world import read_controls

A, B, RR, FAR = "aws-leaf", "aws-leaf-2", "routerd-fullmesh-rr", "azure-leaf"
PRIORITIES = {A: 10, B: 20}
ADDRESSES = {A: IPv4Address("10.81.10.10"), B: IPv4Address("10.81.10.11")}
REMOTE = IPv4Network("10.82.10.20/32")
PUBLIC = IPv4Address("198.51.100.60")

SECOND = Node(
    name=B,
    role="leaf",
    nics=(
        Nic(
            device="ens5",
            port="to-leaf-2",
            address=IPv4Interface(f"{ADDRESSES[B]}/24"),
            gateway=AWS.gateway,
            public=PUBLIC,
        ),
    ),
)
TOPOLOGY = Topology(
    name="redundant", sites=(attrs.evolve(AWS, nodes=(AWS.nodes[0], SECOND, *AWS.nodes[1:])), AZURE)
)
SITES = {site.name: site for site in TOPOLOGY.sites}


# --- configurations -------------------------------------------------------------------------------------


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def reflector_file(text: str) -> str:
    group = 'placementGroups: [{name: aws, allowedLeafIDs: {pattern: "aws-leaf(-2)?"}}]\n        ttl: 24h'
    return replaced(
        text,
        ("(aws|azure|oci|pve)-leaf$", "(aws|azure|oci|pve)-leaf(-2)?$"),
        ("198.51.100.59/32, 192.0.2.93/32", f"198.51.100.59/32, {PUBLIC}/32, 192.0.2.93/32"),
        ("ttl: 24h", group),
    )


def leaf_file(text: str, leaf: str, other_interface: str) -> str:
    placement = f"placement: {{group: aws, priority: {PRIORITIES[leaf]}}}\n        mobility:"
    text = replaced(
        text,
        ("mobility:\n          ownedAddresses", f"{placement}\n          ownedAddresses"),
        ("mode: auto", f"mode: auto\n        takeoverFrom: [{other_interface}]"),
    )
    if leaf == B:
        text = replaced(
            text,
            ("aws-leaf", B),
            ("10.20.0.11", "10.20.0.21"),
            ("10.255.16.11", "10.255.16.21"),
            ("198.51.100.59", str(PUBLIC)),
        )
    return text


# --- the running lab ------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Lab:
    """The machines, what runs in them, and what was seen of the site's table."""

    run_dir: Path
    machines: Mapping[str, Machine]
    disks: Disks
    files: CloudFiles
    daemons: dict[str, asyncio.subprocess.Process] = attrs.field(factory=dict)
    seen: list[tuple[float, str]] = attrs.field(factory=list)

    async def start_clouds(self) -> None:
        for site in TOPOLOGY.sites:
            log = self.run_dir / "logs" / f"{site.fabric}.log"
            command = [sys.executable, __file__, "cloud", site.name, str(self.run_dir)]
            with log.open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    *self.machines[site.fabric].argv(*command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=output,
                )
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n", log.read_text()

    async def interface_of(self, leaf: str) -> str:
        """Ask the metadata service, as the leaf would, for its interface."""
        script = (
            "import urllib.request as u\n"
            "base = 'http://169.254.169.254/latest/'\n"
            "ask = lambda path, **h: u.urlopen(u.Request(base + path, **h)).read().decode()\n"
            "head = {'X-aws-ec2-metadata-token-ttl-seconds': '60'}\n"
            "token = ask('api/token', method='PUT', headers=head)\n"
            "head = {'X-aws-ec2-metadata-token': token}\n"
            "mac = ask('meta-data/mac', headers=head)\n"
            "print(ask(f'meta-data/network/interfaces/macs/{mac}/interface-id', headers=head))\n"
        )
        return (await self.machines[leaf].run(sys.executable, "-c", script)).strip()

    async def start(self, *names: str) -> None:
        for _, node in TOPOLOGY.nodes():
            if node.name in names:
                self.daemons[node.name] = await start_daemon(self.machines[node.name], node, self.disks)

    async def kill(self, name: str) -> None:
        """Kill a router's daemon and its speaker; what they put into the kernel stays."""
        here = '[ "$(readlink /proc/$p/ns/net)" = "$(readlink /proc/self/ns/net)" ]'
        loop = f"for p in $(pgrep -f routerd_bgp_ryu[.]child); do {here} && kill -9 $p; done; true"
        self.daemons[name].send_signal(signal.SIGKILL)
        await self.machines[name].run("sh", "-c", loop)
        await self.daemons[name].wait()

    async def cut(self, port: str) -> None:
        """Lose whatever goes over a wire of the site, as a cable does that is pulled out behind a switch."""
        rules = (
            "table ip lab_cut {\n"
            f'chain in {{ type filter hook prerouting priority -400; iifname "{port}" drop; }}\n'
            f'chain out {{ type filter hook postrouting priority 400; oifname "{port}" drop; }}\n}}\n'
        )
        await self.machines[AWS.fabric].run("nft", "-f", "-", text=rules)

    async def mend(self) -> None:
        await self.machines[AWS.fabric].run("nft", "delete", "table", "ip", "lab_cut")

    async def ask(self, name: str, *words: str) -> dict[str, Any]:  # Any: JSON
        done = await self.machines[name].execute(*routerd_command(*words, "--json"))
        return json.loads(done.out) if done.out.startswith("{") else {}

    async def ready(self, name: str) -> bool:
        return (await self.ask(name, "status")).get("phase") == "Ready"

    async def note(self, name: str) -> str:
        notes = (await self.ask(name, "status")).get("notes", [])
        return next((each for each in notes if "placement group" in each), "")

    async def writes(self, name: str) -> list[str]:
        """Return what the journal says that a leaf did to the route, oldest first."""
        listed = await self.ask(name, "actions", "list", "-n", "100")
        entries = [each for each in listed["journal"] if str(REMOTE) in json.dumps(each)]
        return [each["verb"] for each in sorted(entries, key=lambda each: each["number"])]

    def leads_to(self) -> str:
        table = read_controls(self.run_dir / "sites", "aws").tables.get("aws", {})
        found = table.get(REMOTE)
        return next((leaf for leaf, address in ADDRESSES.items() if address == found), "")

    async def watch(self) -> None:
        """Take note of every change of what the route leads to, as the fabric enforces it."""
        while True:
            now = self.leads_to()
            if not self.seen or self.seen[-1][1] != now:
                self.seen.append((time.monotonic(), now))
            await asyncio.sleep(0.05)

    async def until(self, what: str, holds: Callable[[], Any], seconds: float) -> float:
        """Wait until something holds and return how many seconds it took."""
        began = time.monotonic()
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return time.monotonic() - began
            if time.monotonic() - began > patient(seconds):
                said = [f"{name}: {await self.ask(name, 'status')}" for name in (A, B)]
                raise AssertionError(f"{what}: not within {patient(seconds):g} s\n" + "\n".join(said))
            await asyncio.sleep(0.1)

    async def until_led_by(self, leaf: str, seconds: float) -> float:
        return await self.until(f"the route leads to {leaf}", lambda: self.leads_to() == leaf, seconds)


class Traffic:
    """A ping from the site's client to another site's, ten times a second."""

    def __init__(self, machine: Machine, log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                machine.argv("ping", "-D", "-n", "-i", "0.1", str(REMOTE.network_address)),
                stdout=output,
                stderr=output,
            )

    def end(self) -> list[float]:
        """Return when answers came, in seconds since the epoch."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(300)
        return [
            float(each)
            for each in re.findall(r"^\[(\d+\.\d+)\] \d+ bytes", self._log.read_text(), re.MULTILINE)
        ]


def longest_gap(answers: list[float], since: float, until: float) -> float:
    inside = [since, *(each for each in answers if since <= each <= until), until]
    return max(later - earlier for earlier, later in pairwise(inside))


async def play(lab: Lab) -> dict[str, Any]:
    await lay_underlay(TOPOLOGY, lab.machines)
    await lab.start_clouds()
    interfaces = {leaf: await lab.interface_of(leaf) for leaf in (A, B)}
    for _, node in TOPOLOGY.nodes():
        if not node.is_router:
            continue
        path = lab.disks.config(node)
        text = path.read_text()
        if node.name == RR:
            path.write_text(reflector_file(text))
        elif node.name in PRIORITIES:
            path.write_text(leaf_file(text, node.name, interfaces[B if node.name == A else A]))
    found: dict[str, Any] = {}
    watching = asyncio.create_task(lab.watch())
    await lab.start(RR, FAR, A, B)
    for name in (RR, FAR, A, B):
        await lab.until(f"{name} is ready", lambda name=name: lab.ready(name), 60)
    found["first"] = await lab.until_led_by(A, 40)
    found["notes"] = [await lab.note(A), await lab.note(B)]
    traffic = Traffic(lab.machines["aws-client"], lab.run_dir / "logs" / "ping.log")
    await asyncio.sleep(3)
    marks: dict[str, tuple[float, float]] = {}

    async def step(name: str, act: Callable[[], Any], leaf: str, seconds: float) -> None:
        began = time.time()
        await act()
        found[name] = await lab.until_led_by(leaf, seconds)
        await asyncio.sleep(3)
        marks[name] = (began, time.time())

    await step("killed", lambda: lab.kill(A), B, 40)
    await step("started again", lambda: lab.start(A), A, 60)
    await step("cut off", lambda: lab.cut("to-leaf"), B, 60)
    await step("mended", lab.mend, A, 90)
    found["notes again"] = [await lab.note(A), await lab.note(B)]
    answers = traffic.end()
    found["gaps"] = {name: longest_gap(answers, *mark) for name, mark in marks.items()}
    found["answers"] = len(answers)
    found["seen"] = [leaf for _, leaf in lab.seen if leaf]
    found["writes"] = {leaf: await lab.writes(leaf) for leaf in (A, B)}
    watching.cancel()
    return found


def main() -> int:
    """Run in the sandbox; print the results."""
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{SBIN}"
    os.umask(0o077)
    with tempfile.TemporaryDirectory(prefix="rd-site-", dir="/tmp") as scratch:
        run_dir = Path(scratch)
        for name in ("logs", "nodes", "sites"):
            (run_dir / name).mkdir()
        files = CloudFiles(topology=TOPOLOGY, run_dir=run_dir)
        files.write()
        disks = Disks(run_dir=run_dir, hosts=files.hosts(), environment=files.environment)
        disks.write(TOPOLOGY, files.pve_token, from_examples(TOPOLOGY))
        furniture = {
            node.name: disks.disk(node) if node.is_router else NodeFiles() for _, node in TOPOLOGY.nodes()
        }
        machines = make_machines(TOPOLOGY, furniture)
        lab = Lab(run_dir=run_dir, machines=machines, disks=disks, files=files)
        try:
            results = asyncio.run(play(lab))
        except BaseException:
            for log in sorted((run_dir / "logs").iterdir()):
                sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}\n")
            raise
        sys.stdout.write(json.dumps(results) + "\n")
    return 0


def cloud(name: str, run_dir: str) -> None:
    """Be the cloud of a site."""
    asyncio.run(serve(SITES[name], Path(run_dir), {}))  # type: ignore[index]


if __name__ == "__main__":
    if sys.argv[1:2] == ["cloud"]:
        cloud(*sys.argv[2:])
    else:
        sys.exit(sandbox.enter(main, started=lambda _pid: None))
