"""The clouds of the lab as processes: one for each site, in the site's fabric namespace."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

from routerd_lab.namespaces import LabError, Machine
from routerd_lab.topology import Site, Topology

_START_SECONDS = 45.0


@attrs.frozen(kw_only=True)
class CloudFiles:
    """What clouds and routers share: names, the lab's certificate authority, tokens."""

    topology: Topology
    run_dir: Path
    pve_token: str = "root@pam!routerd=00000000-0000-0000-0000-000000000000"

    def write(self) -> None:
        """Write the certificate authority."""

    def hosts(self) -> str:
        """Return everybody's /etc/hosts."""
        return "127.0.0.1 localhost\n"

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables by which SDKs trust the lab's certificate authority."""
        return {}


async def start_cloud(
    site: Site, machines: Mapping[str, Machine], files: CloudFiles
) -> asyncio.subprocess.Process:
    """Start a site's cloud and return once it enforces and answers; `LabError` otherwise."""
    fabric = machines[site.fabric]
    log_path = files.run_dir / "logs" / f"{site.fabric}.log"
    guests = [f"{node.vmid}={machines[node.name].pid}" for node in site.nodes if node.vmid]
    command = [sys.executable, "-m", "routerd_lab.cloud_process", site.name, str(files.run_dir), *guests]
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *fabric.argv(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **files.environment},
            start_new_session=True,
        )
    if process.stdout is None:
        raise LabError(f"{site.fabric}: its process has no output")
    try:
        async with asyncio.timeout(_START_SECONDS):
            ready = await process.stdout.readline()
    except TimeoutError as exc:
        raise LabError(f"{site.fabric}: not ready after {_START_SECONDS:.0f} s; see {log_path}") from exc
    if not ready:
        raise LabError(f"{site.fabric}: ended before it was ready; see {log_path}")
    return process
