"""The process of one cloud: its emulated API and metadata service, and the fabric that obeys them.

Runs in the site's fabric namespace: `python -m routerd_lab.cloud_process SITE RUN_DIR [VMID=PID...]`.
It prints `ready` when everything answers and is enforced.
"""

import asyncio
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from routerd_lab.adapters import Cloud, make_cloud
from routerd_lab.clouds_run import pve_token_file, server_certificate
from routerd_lab.enforce import Enforcer, feed_here
from routerd_lab.topology import METADATA_ADDRESS, TOPOLOGIES, Site
from routerd_lab.world import write_controls

METADATA_PORT = 8001
_API_PORTS = {"pve": 8006}


async def serve(site: Site, run_dir: Path, guests: dict[int, int]) -> None:
    """Serve until somebody ends the process."""
    changed = asyncio.Event()
    changed.set()
    token = pve_token_file(run_dir).read_text(encoding="ascii").strip()
    cloud = make_cloud(site, changed.set, guests, token=token)
    enforcer = Enforcer(site.upstream.ip)
    await _follow(cloud, enforcer, site, run_dir)
    await _serve_metadata(cloud, site)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server_certificate(run_dir, site))
    await _listen(cloud.api, str(site.api), _API_PORTS.get(site.name, 443), context)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        await changed.wait()
        changed.clear()
        await _follow(cloud, enforcer, site, run_dir)


async def _follow(cloud: Cloud, enforcer: Enforcer, site: Site, run_dir: Path) -> None:
    """Enforce what the cloud holds now, then write it to the state file."""
    if cloud.controls is not None:
        controls = cloud.controls()
        await enforcer.apply(controls)
        write_controls(run_dir / "sites", site.name, controls)


async def _serve_metadata(cloud: Cloud, site: Site) -> None:
    """Serve each router its own metadata; the fabric knows the router by its wire."""
    rules = []
    for index, node in enumerate(site.nodes):
        if cloud.metadata is None or not node.is_router:
            continue
        port = METADATA_PORT + index
        await _listen(cloud.metadata(node.name), str(METADATA_ADDRESS), port)
        asked = f'iifname "{node.primary.port}" ip daddr {METADATA_ADDRESS} tcp dport 80'
        # Not `redirect`: it picks an address of the incoming device, and a port of the fabric has none.
        rules.append(f"{asked} dnat to {METADATA_ADDRESS}:{port}")
    if rules:
        body = "\n        ".join(rules)
        await feed_here(
            "nft",
            "-f",
            "-",
            text=f"""
table ip lab_metadata {{
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {body}
    }}
}}
""",
        )


async def _listen(
    app: web.Application, address: str, port: int, context: ssl.SSLContext | None = None
) -> None:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, address, port, ssl_context=context).start()


def main(arguments: Sequence[str]) -> None:
    """Run the cloud that the arguments name."""
    name, run_dir, *pairs = arguments
    guests = {int(vmid): int(pid) for vmid, _, pid in (pair.partition("=") for pair in pairs)}
    site = next(site for topology in TOPOLOGIES.values() for site in topology.sites if site.name == name)
    asyncio.run(serve(site, Path(run_dir), guests))


if __name__ == "__main__":
    main(sys.argv[1:])
