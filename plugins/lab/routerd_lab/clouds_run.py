"""The clouds of the lab as processes: one for each site, in the site's fabric namespace."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import attrs

from routerd_lab.certificates import Authority
from routerd_lab.namespaces import LabError, Machine
from routerd_lab.patience import patient
from routerd_lab.topology import Site, Topology

_START_SECONDS = 45.0
_NAMES: Mapping[str, tuple[str, ...]] = {
    "aws": (
        "ec2.ap-northeast-1.amazonaws.com",
        "sts.ap-northeast-1.amazonaws.com",
        "servicequotas.ap-northeast-1.amazonaws.com",
    ),
    "azure": ("management.azure.com", "login.microsoftonline.com"),
    "oci": ("iaas.ap-tokyo-1.oraclecloud.com", "auth.ap-tokyo-1.oraclecloud.com"),
    "pve": ("pve.example",),
}
"""The real names under which the official SDKs look for each API."""


@attrs.frozen(kw_only=True)
class CloudFiles:
    """The files that clouds and routers share: names, the certificate authority, the token for Proxmox VE."""

    topology: Topology
    run_dir: Path
    pve_token: str = attrs.field(factory=lambda: f"root@pam!routerd={uuid.uuid4()}", repr=False)

    def write(self) -> None:
        """Make the certificate authority, a certificate for each cloud, and the token."""
        tls = self.run_dir / "tls"
        tls.mkdir(mode=0o700)
        authority = Authority()
        authority.write_certificate(_authority(self.run_dir))
        for site in self.topology.sites:
            authority.write_server(server_certificate(self.run_dir, site), _NAMES[site.name], site.api)
        token = pve_token_file(self.run_dir)
        token.touch(mode=0o600)
        token.write_text(self.pve_token, encoding="ascii")

    def hosts(self) -> str:
        """Return the /etc/hosts of every machine; the clouds' real names lead to their emulators."""
        lines = ["127.0.0.1 localhost"]
        lines += [f"{site.api} {' '.join(_NAMES[site.name])}" for site in self.topology.sites]
        return "\n".join(lines) + "\n"

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables by which SDKs trust the lab's certificate authority."""
        return trust(self.run_dir)


def trust(run_dir: Path) -> Mapping[str, str]:
    """Return the variables by which the SDKs and common tools trust a lab's clouds."""
    names = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
    return dict.fromkeys(names, str(_authority(run_dir)))


def _authority(run_dir: Path) -> Path:
    return run_dir / "tls" / "ca.pem"


def server_certificate(run_dir: Path, site: Site) -> Path:
    """Return the path of the certificate and key of a site's API."""
    return run_dir / "tls" / f"{site.name}.pem"


def pve_token_file(run_dir: Path) -> Path:
    """Return the path of the Proxmox VE host's API token, for its emulator."""
    return run_dir / "tls" / "pve-token"


async def start_cloud(
    site: Site, machines: Mapping[str, Machine], files: CloudFiles
) -> asyncio.subprocess.Process:
    """Start a site's cloud and return once it enforces and answers; raises `LabError` otherwise."""
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
    allowed = patient(_START_SECONDS)
    try:
        async with asyncio.timeout(allowed):
            ready = await process.stdout.readline()
    except TimeoutError as exc:
        raise LabError(f"{site.fabric}: not ready after {allowed:.0f} s; see {log_path}") from exc
    if not ready:
        raise LabError(f"{site.fabric}: ended before it was ready; see {log_path}")
    return process
