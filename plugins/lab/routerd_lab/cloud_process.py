"""The process of one cloud: its emulated API and metadata service, and the fabric that obeys them."""

from __future__ import annotations

import asyncio
import sys
from ipaddress import IPv4Network
from pathlib import Path

from routerd_lab.enforce import Controls, Enforcer, Port
from routerd_lab.topology import FULLMESH
from routerd_lab.world import write_controls

async def serve(name, run_dir):
    site = next(site for site in FULLMESH.sites if site.name == name)
    if not site.masquerade:
        ports = tuple(Port(device=n.primary.port, address=n.primary.address.ip, subnet=name, forwarding=False) for n in site.nodes)
        c = Controls(ports=ports, tables={name: {IPv4Network("0.0.0.0/0"): None}})
        await Enforcer(site.upstream.ip).apply(c)
        write_controls(run_dir / "sites", name, c)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
