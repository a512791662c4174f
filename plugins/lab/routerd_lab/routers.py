"""A router of the lab: its configuration and secrets on its disk, and the daemon that runs there.

The configuration files are the project's own examples, those that a real host would use; only the
public keys, which no example can know, are filled in.
"""

import asyncio
import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from routerd_lab.build import NodeFiles
from routerd_lab.namespaces import LabError, Machine
from routerd_lab.topology import Node, Topology

PLACEHOLDER = "REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam"
STATE_DIR = Path("/var/lib/routerd")
ETC_DIR = Path("/etc/routerd")
RUN_DIR = Path("/run/routerd")


@attrs.frozen(kw_only=True)
class Keys:
    """A router's WireGuard key pair, as text in base64."""

    private: str = attrs.field(repr=False)
    public: str


def make_keys() -> Keys:
    """Return a new Curve25519 key pair."""
    key = X25519PrivateKey.generate()
    private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Keys(private=base64.b64encode(private).decode(), public=base64.b64encode(public).decode())


def example(topology: Topology, node: Node) -> str:
    """Return the text of the example that configures a node."""
    site = topology.site_of(node.name)
    usual = "fullmesh-rr.yaml" if node.role == "rr" else f"fullmesh-leaf-{site.name}.yaml"
    name = topology.configs.get(node.name, usual)
    return resources.files("routerd_lab").joinpath("configs", name).read_text(encoding="utf-8")


@attrs.frozen(kw_only=True)
class RouterFiles:
    """The text of a router's configuration, still without its public key, and its secrets by name."""

    config: str
    secrets: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)


def from_examples(topology: Topology) -> dict[str, RouterFiles]:
    """Return the files of every router as the examples have them."""
    return {node.name: RouterFiles(config=example(topology, node)) for node in topology.routers}


@attrs.frozen(kw_only=True)
class Disks:
    """The paths of the routers' files in the run directory; `hosts` is the /etc/hosts of every machine."""

    run_dir: Path
    hosts: str
    environment: Mapping[str, str]

    def config(self, node: Node) -> Path:
        """Return the path of the node's configuration file."""
        return self.run_dir / "configs" / f"{node.name}.yaml"

    def log(self, node: Node) -> Path:
        """Return the path of the log of the node's daemon."""
        return self.run_dir / "logs" / f"{node.name}.log"

    def disk(self, node: Node) -> NodeFiles:
        """Return the files on the node's disk."""
        own = self.run_dir / "nodes" / node.name
        return NodeFiles(
            files={Path("/etc/hosts"): self.hosts, Path("/etc/resolv.conf"): ""},
            binds={ETC_DIR: own / "etc", STATE_DIR: own / "lib"},
        )

    def write(self, topology: Topology, pve_token: str, files: Mapping[str, RouterFiles]) -> None:
        """Write every router's configuration and secrets; `files` are by the router's name."""
        (self.run_dir / "configs").mkdir()
        token = secrets.token_hex(32)
        for site, node in topology.nodes():
            if not node.is_router:
                continue
            keys = make_keys()
            own = self.run_dir / "nodes" / node.name
            for part in ("etc", "lib"):
                (own / part / "secrets").mkdir(parents=True)
                (own / part / "secrets").chmod(0o700)
            _secret(own / "lib/secrets/wg-sam.key", f"{keys.private}\n".encode())
            _secret(own / "etc/secrets/join-token", f"{token}\n".encode())
            if site.name == "pve":
                _secret(own / "etc/secrets/pve-token", f"{pve_token}\n".encode())
            for name, content in files[node.name].secrets.items():
                _secret(own / "etc/secrets" / name, content)
            text = files[node.name].config
            if "WireGuardInterface" in text and PLACEHOLDER not in text:
                raise LabError(f"{node.name}: its example has no place for a public key ({PLACEHOLDER})")
            self.config(node).write_text(text.replace(PLACEHOLDER, keys.public), encoding="utf-8")


def _secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def routerd_command(*arguments: str) -> list[str]:
    """Return the command line of `routerd` in the interpreter that runs the lab."""
    script = Path(sys.executable).with_name("routerd")
    if script.exists():
        return [str(script), *arguments]
    return [sys.executable, "-c", "from routerd.cli import main; main()", *arguments]


async def start_daemon(machine: Machine, node: Node, disks: Disks) -> asyncio.subprocess.Process:
    """Start the node's daemon; it writes its log into the run directory."""
    command = routerd_command(
        "--config", str(disks.config(node)), "--state-dir", str(STATE_DIR), "--run-dir", str(RUN_DIR)
    )
    environment = {**os.environ, **disks.environment, "PYTHONUNBUFFERED": "1"}
    with disks.log(node).open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *machine.argv(*command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
