"""What it costs to start: seconds of each command, megabytes of a daemon and of each library."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import show

RUNS = 7
ROUTERD = str(Path(sys.executable).with_name("routerd"))
REFLECTOR = Path(__file__).parents[2] / "examples" / "rr.yaml"
COMMANDS = ("--version", "--help", "status", "peers", "routes", "explain 10.80.0.1", "get all", "plugins")
LIBRARIES = (
    ("Python itself", ""),
    ("attrs, click", "attrs, click"),
    ("asyncio, with OpenSSL", "asyncio, ssl"),
    ("pyyaml", "yaml"),
    ("cattrs", "cattrs"),
    ("pyroute2, the parts in use", "routerd.kernel.pyroute2_parts, pyroute2.netlink.generic.wireguard"),
    ("aiohttp", "aiohttp.web"),
    ("routerd, the daemon", "routerd.cli.main, routerd.runtime.daemon"),
)
"""In the order of a daemon's start; each is charged with what the earlier ones have not loaded."""
ALONE = (
    ("prometheus-client", "at the first `metrics`", "prometheus_client"),
    ("rich", "in commands that print a table", "rich.console, rich.table, rich.text"),
    ("cryptography", "with a TLS listener", "cryptography.x509"),
    ("botocore", "with `cloud_aws`, once connected", "botocore.session"),
    (
        "azure-identity, azure-mgmt-network",
        "with `cloud_azure`",
        "azure.identity.aio, azure.mgmt.network.aio",
    ),
    ("oci", "with `cloud_oci`", "oci.core, oci.auth.signers"),
    ("proxmoxer", "with `cloud_pve`", "proxmoxer, requests"),
)
"""After the daemon's, each without the others."""


def report() -> None:
    """Print the times of commands beside Python's own, the memory of a reflector, that of libraries."""
    bare, busy = _best([sys.executable, "-c", "pass"])
    show.title(f"start of a command, best of {RUNS}, beyond python -c pass ({show.seconds(bare)})")
    show.row("", "time", "processor")
    with tempfile.TemporaryDirectory(prefix="rdb-", dir="/tmp") as place, _reflector(Path(place)) as daemon:
        for command in COMMANDS:
            options = () if command.startswith("-") else ("--run-dir", f"{place}/run")
            took, used = _best([ROUTERD, *command.split(), *options])
            show.row(command, show.seconds(took - bare), show.seconds(used - busy))
        show.title("resident memory in MB of a reflector without leaves; examples/rr.yaml, no cloud plugin")
        show.row("daemon", f"{resident(daemon.pid) / 1024:.1f}")
    show.title("resident memory in MB that a library costs when the ones above it are loaded")
    libraries()


def libraries() -> None:
    """Print the megabytes of each library of a daemon."""
    script = "\n".join(
        [
            "import os, sys",
            "size = os.sysconf('SC_PAGE_SIZE')",
            "def mb(): return int(open('/proc/self/statm').read().split()[1]) * size / 2**20",
            "last = 0.0",
            *(
                f"{f'import {modules}' if modules else 'pass'}\nprint({name!r}, mb() - last, sep='|')\n"
                "last = mb()"
                for name, modules in LIBRARIES
            ),
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name, figure in (line.split("|") for line in done.stdout.splitlines()):
        show.row(name, f"{float(figure):.1f}")
    everything = ", ".join(modules for _, modules in LIBRARIES if modules)
    for name, when, modules in ALONE:
        head = script.splitlines()[:3]
        more = "\n".join(
            [*head, f"import {everything}", "last = mb()", f"import {modules}", "print(mb() - last)"]
        )
        done = subprocess.run([sys.executable, "-c", more], capture_output=True, text=True, check=False)
        figure = f"{float(done.stdout):.1f}" if done.returncode == 0 else "-"
        show.row(f"{name} ({when})", figure, widths=(64, 10))


def resident(pid: int) -> int:
    """Return the resident memory of a process in kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def _best(command: list[str]) -> tuple[float, float]:
    """Return the least seconds, and the least seconds of a processor, of some runs after a first one."""
    taken, used = [], []
    for _ in range(RUNS + 1):
        before, began = _processor(), time.perf_counter()
        subprocess.run(command, capture_output=True, check=False)
        taken.append(time.perf_counter() - began)
        used.append(_processor() - before)
    return min(taken[1:]), min(used[1:])


def _processor() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


class _reflector:
    """A reflector of the example in a network namespace of its own, once it is ready."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __enter__(self) -> subprocess.Popen[str]:
        secrets = self._place / "secrets"
        for folder in ("secrets", "state", "run"):
            (self._place / folder).mkdir(mode=0o700)
        key = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout
        wg = subprocess.run(["wg", "pubkey"], input=key, capture_output=True, text=True, check=True)
        for name, text in (("wg-sam.key", key), ("join-token", os.urandom(24).hex())):
            (secrets / name).write_text(text)
            (secrets / name).chmod(0o600)
        text = REFLECTOR.read_text().replace("REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam", wg.stdout.strip())
        for folder in ("/var/lib/routerd/secrets", "/etc/routerd/secrets"):
            text = text.replace(folder, str(secrets))
        config = self._place / "rr.yaml"
        config.write_text(text)
        command = [
            "unshare", "-Urnm", "sh", "-c",
            'mount -t tmpfs none /var/run; ip link set lo up; exec "$@"', "sh",
            ROUTERD, "--config", str(config), "--state-dir", f"{self._place}/state",
            "--run-dir", f"{self._place}/run",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if " ready" in line:
                return self._process
        raise SystemExit(f"the reflector did not become ready: {''.join(lines)}")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=30)
