"""Runs inside the sandbox: builds the lab, starts everything, checks it, and keeps it up on request."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Awaitable, Mapping
from pathlib import Path

import attrs

from routerd.errors import RouterdError
from routerd_lab import evidence, gate
from routerd_lab.build import lay_underlay, make_machines
from routerd_lab.client import SshKeys, client_disk, start_sshd
from routerd_lab.clouds_run import CloudFiles, start_cloud
from routerd_lab.events import Check, Reporter, Verdict
from routerd_lab.matrix import Pair, measure
from routerd_lab.namespaces import LabError, Machine
from routerd_lab.patience import patient
from routerd_lab.requirements import SBIN
from routerd_lab.routers import Disks, RouterFiles, start_daemon
from routerd_lab.topology import Site, Topology
from routerd_lab.world import World, look

MACHINES_FILE = "machines.json"
SOCKET = "lab.sock"
_CONVERGE_SECONDS = 15.0
"""From the start of the last daemon: some 6 to start, and 9 to converge."""
_LOOK_EVERY = 0.2
_DIRECTORIES = ("logs", "nodes", "sites", "evidence")


@attrs.frozen(kw_only=True)
class Plan:
    """The request: `hold` keeps the lab up afterwards, `as_root` makes no user namespace for it.

    `files` are what the routers get, by their name. `begun` is the monotonic time at which the command
    started.
    """

    topology: Topology
    run_dir: Path
    files: Mapping[str, RouterFiles]
    begun: float
    hold: bool = False
    as_root: bool = False
    routers: bool = True


def run(plan: Plan, reporter: Reporter) -> int:
    """Act as the sandbox's main process; return the exit status."""
    os.umask(0o077)
    # Programs for administrators are not on every user's path.
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{SBIN}"
    for name in _DIRECTORIES:
        (plan.run_dir / name).mkdir()
    ssh = SshKeys(directory=plan.run_dir / "ssh")
    ssh.directory.mkdir(mode=0o700)
    clouds = CloudFiles(topology=plan.topology, run_dir=plan.run_dir)
    with reporter.stage("configurations"):
        clouds.write()
        disks = Disks(run_dir=plan.run_dir, hosts=clouds.hosts(), environment=clouds.environment)
        disks.write(plan.topology, clouds.pve_token, plan.files)
        (plan.run_dir / "evidence").mkdir(exist_ok=True)
        boundary = evidence.check_boundary(plan.topology, disks)
    with reporter.stage("machines"):
        furniture = {
            node.name: disks.disk(node) if node.is_router else client_disk(ssh.directory)
            for _, node in plan.topology.nodes()
        }
        machines = make_machines(plan.topology, furniture)
        pids = {name: machine.pid for name, machine in machines.items()}
        (plan.run_dir / MACHINES_FILE).write_text(json.dumps(pids), encoding="ascii")
    lab = Lab(plan=plan, reporter=reporter, machines=machines, disks=disks, clouds=clouds, ssh=ssh)
    return asyncio.run(lab.main(plan.begun, boundary))


@attrs.frozen(kw_only=True)
class Lab:
    """The running lab."""

    plan: Plan
    reporter: Reporter
    machines: Mapping[str, Machine]
    disks: Disks
    clouds: CloudFiles
    ssh: SshKeys
    _processes: dict[str, asyncio.subprocess.Process] = attrs.field(factory=dict, init=False)

    async def main(self, begun: float, boundary: Check) -> int:
        """Bring the lab up, check it, and stay until the user ends it."""
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, ending.set)
        work = asyncio.create_task(self._bring_up_and_prove(begun, boundary))
        waiting = asyncio.create_task(ending.wait())
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            await self._stop()
            return 130
        verdict = work.result()
        self.reporter.send(verdict)
        if self.plan.hold:
            async with await self._serve():
                await waiting
        waiting.cancel()
        await self._stop()
        return 0 if verdict.passed else 1

    async def _bring_up_and_prove(self, begun: float, boundary: Check) -> Verdict:
        error = ""
        checks: tuple[Check, ...] = (boundary,)
        pairs: tuple[Pair, ...] = ()
        try:
            await self._bring_up()
            await self._converge()
            with self.reporter.stage("pairs"):
                pairs = await measure(self.plan.topology, self.machines, report=self.reporter.send)
            judged, pairs = await self._judge(pairs)
            checks += judged
        except* (RouterdError, OSError, TimeoutError) as group:
            error = "\n".join(str(exc) for exc in _leaves(group))
        with self.reporter.stage("evidence"):
            bundle = await evidence.collect(
                self.plan.topology, self.machines, self.disks, checks=checks, pairs=pairs, error=error
            )
        return Verdict(
            passed=not error and bool(pairs) and all(check.passed for check in checks),
            seconds=round(time.monotonic() - begun, 1),
            stages=self.reporter.stages,
            checks=checks,
            pairs=pairs,
            run_dir=str(self.plan.run_dir),
            tarball=str(bundle.tarball),
            sha256=bundle.sha256,
            error=error,
        )

    async def _bring_up(self) -> None:
        with self.reporter.stage("underlay"):
            await lay_underlay(self.plan.topology, self.machines)
        with self.reporter.stage("clouds, clients, routers"):
            async with asyncio.TaskGroup() as group:
                for site in sorted(self.plan.topology.sites, key=_reflects, reverse=True):
                    group.create_task(self._start_site(site))
                group.create_task(self._start_clients())

    async def _start_site(self, site: Site) -> None:
        """Start a site's cloud, then its routers: as on a real host, the cloud is there before its machine.

        A router that finds no metadata service at its start would ask again only after a pause.
        """
        await self._keep(site.fabric, start_cloud(site, self.machines, self.clouds))
        if self.plan.routers:
            for node in site.nodes:
                if node.is_router:
                    await self._keep(node.name, start_daemon(self.machines[node.name], node, self.disks))

    async def _start_clients(self) -> None:
        await self.ssh.make()
        for node in self.plan.topology.clients:
            log = self.plan.run_dir / "logs" / f"{node.name}.log"
            await self._keep(node.name, start_sshd(self.machines[node.name], log))

    async def _keep(self, name: str, start: Awaitable[asyncio.subprocess.Process]) -> None:
        self._processes[name] = await start

    async def _converge(self) -> None:
        """Read the world until it is complete; raises `LabError` if a process ends before that."""
        deadline = time.monotonic() + patient(_CONVERGE_SECONDS)
        with self.reporter.stage("sessions and routes"):
            while True:
                world = await self._look()
                for count in gate.counts(self.plan.topology, world):
                    self.reporter.send(count)
                if gate.converged(self.plan.topology, world) or time.monotonic() > deadline:
                    return
                self._check_processes()
                await asyncio.sleep(_LOOK_EVERY)

    def _check_processes(self) -> None:
        for name, process in self._processes.items():
            if process.returncode is not None:
                log = self.plan.run_dir / "logs" / f"{name}.log"
                last = log.read_text(errors="replace").strip().splitlines()[-5:]
                raise LabError(
                    f"{name}: its process ended with status {process.returncode}; see {log}:\n"
                    + "\n".join(last)
                )

    async def _judge(self, pairs: tuple[Pair, ...]) -> tuple[tuple[Check, ...], tuple[Pair, ...]]:
        """Return every assertion, and the pairs, each failing one with its probable cause."""
        world = await self._look()
        checks = (*gate.checks(self.plan.topology, world), gate.check_pairs(self.plan.topology, pairs))
        return checks, gate.explained(self.plan.topology, pairs, world)

    async def _look(self) -> World:
        return await look(self.plan.topology, self.machines, self.plan.run_dir / "sites")

    async def _serve(self) -> asyncio.Server:
        """Answer each connection to the lab's socket with a fresh check, as events."""

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            begun = time.monotonic()
            reporter = Reporter(writer.write)
            world = await self._look()
            for count in gate.counts(self.plan.topology, world):
                reporter.send(count)
            with reporter.stage("pairs"):
                pairs = await measure(self.plan.topology, self.machines, report=reporter.send)
            checks, pairs = await self._judge(pairs)
            reporter.send(
                Verdict(
                    passed=all(check.passed for check in checks),
                    seconds=round(time.monotonic() - begun, 1),
                    stages=reporter.stages,
                    checks=checks,
                    pairs=pairs,
                    run_dir=str(self.plan.run_dir),
                )
            )
            writer.close()

        path = self.plan.run_dir / SOCKET
        return await asyncio.start_unix_server(answer, path)

    async def _stop(self) -> None:
        """End the processes that we started; the sandbox's end takes care of the rest."""
        for process in self._processes.values():
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patient(3)):
                await asyncio.gather(*(process.wait() for process in self._processes.values()))
        (self.plan.run_dir / SOCKET).unlink(missing_ok=True)


def _reflects(site: Site) -> bool:
    """Say whether a site has a route reflector: every leaf waits for that."""
    return any(node.role == "rr" for node in site.nodes)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions in a group of groups."""
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found
