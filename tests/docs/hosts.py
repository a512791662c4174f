"""Hosts for the commands of a page, inside a user namespace of their own.

Each has a network with the address that the pages give it, and empty /etc/routerd, /var/lib and /run.
The commands run in the root of the repository, with the routerd of this environment in PATH.

`python -m tests.docs.hosts PAGE` runs a page; as root of a namespace only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.blocks import ROOT, Block, blocks, unlike

ADDRESSES = {"reflector": "203.0.113.1", "leaf": "203.0.113.11", "host": "203.0.113.12"}
PATIENCE = 900.0
"""Seconds after which a command that never succeeds ends the test: far above what a busy machine needs."""

# The directories of the host are copied or empty, so that a page changes nothing outside.
_OWN = """
mount -t tmpfs tmpfs {copy} && cp -a /etc/. {copy} 2>/dev/null
mount --bind {copy} /etc && rm -rf /etc/routerd
for place in /run /var/lib /var/backups /usr/local/sbin; do mount -t tmpfs tmpfs $place; done
hostname {name}; ip link set lo up; echo ready; exec sleep infinity
"""

# The tree may itself be below /tmp, and the pages are in it.
_EMPTY_TMP = """
mount --bind "$1" /mnt
mount -t tmpfs tmpfs /tmp
mkdir -p "$1" && mount --bind /mnt "$1"
umount /mnt
"""


class Host:
    """A machine: processes in network, mount and host-name namespaces of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.output = ""
        copy = tempfile.mkdtemp(prefix=f"{name}-etc-")
        self._keeper = subprocess.Popen(
            ["unshare", "-nmu", "sh", "-c", _OWN.format(copy=copy, name=name)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == "ready\n"
        pid = self._keeper.pid
        for command in (
            f"ip link add {name} type veth peer name eth0 netns {pid}",
            f"ip link set {name} master outside up",
            f"nsenter -t {pid} -n ip addr add {ADDRESSES[name]}/24 dev eth0",
            f"nsenter -t {pid} -n ip link set eth0 up",
        ):
            subprocess.run(command.split(), check=True)

    def command(self, text: str) -> list[str]:
        """Return how to run a script on this host."""
        inside = ["nsenter", "-t", str(self._keeper.pid), "-n", "-m", "-u", f"--wd={ROOT}"]
        return [*inside, "bash", "-e", "-o", "pipefail", "-c", text]


class Run:
    """A page while it runs."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        self._left: list[subprocess.Popen[bytes]] = []

    def host(self, name: str) -> Host:
        """Return a host; the first time it is made."""
        if name not in self._hosts:
            self._hosts[name] = Host(name)
        return self._hosts[name]

    def execute(self, block: Block) -> None:
        """Run a block; raises `AssertionError` with its output when it did not do what the page says."""
        host, end = self.host(block.host), time.monotonic() + PATIENCE
        if "background" in block.options:
            log = Path(f"/tmp/{host.name}.log").open("ab")  # noqa: SIM115 - the process keeps it
            self._left.append(
                subprocess.Popen(host.command("exec " + block.text.strip()), stdout=log, stderr=log)
            )
            return
        while fault := self._fault(host, block):
            if "until" not in block.options or time.monotonic() > end:
                raise AssertionError(_report(block, fault, host.output))
            time.sleep(0.3)

    def compare(self, block: Block, host: str) -> None:
        """Compare the output that a page states with the real one."""
        missing = unlike(block.text, self.host(host).output)
        assert not missing, _report(block, f"missing: {missing}", self.host(host).output)

    def _fault(self, host: Host, block: Block) -> str:
        """Run the commands of a block and return what is wrong with the first that is not as stated."""
        if block.language != "console":
            return self._run(host, block, block.text)
        parts = block.text.split("$ ")[1:] if block.text.startswith("$ ") else []
        assert parts, f"{block}: a console block begins with a prompt"
        for part in parts:
            command, _, stated = part.partition("\n")
            fault = self._run(host, block, command)
            if not fault and (missing := unlike(stated, host.output)):
                fault = f"missing: {missing}"
            if fault:
                return f"{command}: {fault}"
        return ""

    @staticmethod
    def _run(host: Host, block: Block, text: str) -> str:
        text = f"cd {block.options['in']}\n{text}" if "in" in block.options else text
        done = subprocess.run(
            host.command(text),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        host.output = done.stdout
        wanted = int(block.options.get("exit", "0"))
        return "" if done.returncode == wanted else f"exit status {done.returncode}"

    def end(self) -> None:
        """Ask what runs in the background to end."""
        for process in self._left:
            process.send_signal(signal.SIGTERM)


def _report(block: Block, what: str, output: str) -> str:
    logs = "".join(f"--- {log}\n{log.read_text()[-3000:]}" for log in Path("/tmp").glob("*.log"))
    return f"{block}: {what}\n{block.text}--- its output\n{output}\n{logs}"


@contextmanager
def world() -> Iterator[Run]:
    """Make the network that the hosts are in."""
    subprocess.run(["sh", "-ec", _EMPTY_TMP, "sh", str(Path(__file__).parents[2])], check=True)
    for command in ("ip link set lo up", "ip link add outside type bridge", "ip link set outside up"):
        subprocess.run(command.split(), check=True)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    run = Run()
    try:
        yield run
    finally:
        run.end()


def main(page: Path) -> None:
    """Run the blocks of a page in their order."""
    with world() as run:
        last = "host"
        for block in blocks(page):
            if block.executed:
                started = time.monotonic()
                run.execute(block)
                last = block.host
                sys.stdout.write(f"{block}: {time.monotonic() - started:.1f} s\n")
                if "-v" in sys.argv:
                    sys.stdout.write(run.host(last).output)
                sys.stdout.flush()
            elif block.note == "output":
                run.compare(block, last)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
