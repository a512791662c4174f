"""A client machine: an ordinary host with an SSH server and without routerd.

Inside the lab's user namespace only one user exists, so OpenSSH's privilege separation cannot
change to another. The server therefore runs as an ordinary user of a user namespace of its own:
an `sshd` that is not root separates nothing and serves exactly that user.
"""

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs

from routerd_lab.build import NodeFiles
from routerd_lab.namespaces import LabError, Machine
from routerd_lab.patience import patient

USER = "lab"
_USER_ID = 1000
_HOME = Path("/run/home")
_KEYS = Path("/run/ssh")

_PASSWD = f"root:x:0:0:root:{_HOME}:/bin/sh\n{USER}:x:{_USER_ID}:{_USER_ID}:lab:{_HOME}:/bin/sh\n"
_GROUP = f"root:x:0:\n{USER}:x:{_USER_ID}:\n"

_SSHD_CONFIG = f"""\
Port 22
HostKey {_KEYS}/host
AuthorizedKeysFile {_KEYS}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
"""


@attrs.frozen(kw_only=True)
class SshKeys:
    """Key pairs in the run directory: one for all servers, one for the user."""

    directory: Path

    async def make(self) -> None:
        """Make both key pairs."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("host", "user"):
            process = await asyncio.create_subprocess_exec(
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"lab-{name}",
                "-f",
                self.directory / name,
            )
            if await process.wait():
                raise LabError(f"lab: ssh-keygen cannot write {self.directory / name}")
        known = (self.directory / "host.pub").read_text(encoding="ascii")
        (self.directory / "known_hosts").write_text(f"* {known}", encoding="ascii")
        (self.directory / "sshd_config").write_text(_SSHD_CONFIG, encoding="ascii")


def client_disk(keys: Path) -> NodeFiles:
    """Return the files on a client's disk."""
    return NodeFiles(
        files={Path("/etc/passwd"): _PASSWD, Path("/etc/group"): _GROUP, _HOME / ".hushlogin": ""},
        binds={_KEYS: keys},
    )


async def start_sshd(machine: Machine, log: Path) -> asyncio.subprocess.Process:
    """Start the SSH server and return once it accepts; raises `LabError` with its log otherwise."""
    user = ("unshare", "-U", f"--map-user={_USER_ID}", f"--map-group={_USER_ID}")
    sshd = ("/usr/sbin/sshd", "-D", "-e", "-f", f"{_KEYS}/sshd_config")
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *machine.argv(*user, *sshd),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    async with asyncio.timeout(patient(20)):
        while ":22" not in await machine.run("ss", "-tlnH", "sport", "=", ":22"):
            if process.returncode is not None:
                raise LabError(f"{machine.name}: sshd ended; {log.read_text(errors='replace').strip()}")
            await asyncio.sleep(0.1)
    return process


def ssh_command(address: str, *command: str, seconds: int) -> tuple[str, ...]:
    """Return the `ssh` command line by which one client runs `command` on another."""
    options: Mapping[str, str] = {
        "BatchMode": "yes",
        "ConnectTimeout": str(seconds),
        "UserKnownHostsFile": f"{_KEYS}/known_hosts",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "GSSAPIAuthentication": "no",
    }
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return ("ssh", "-F", "none", "-i", f"{_KEYS}/user", *flags, f"{USER}@{address}", *command)
