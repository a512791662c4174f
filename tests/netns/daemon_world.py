"""A host for one daemon, inside a user namespace of its own: imported by the code of `test_daemon.py`.

Not a test itself. It runs as root of the namespace, with an empty /run and /var/lib, a bridge `lan0`
and no route to anywhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.waiting import PATIENCE

ROUTERD = [str(Path(sys.executable).with_name("routerd"))]
CONFIG = Path("/run/router.yaml")
LOG = Path("/run/routerd.log")
SOCKET = Path("/run/routerd/routerd.sock")

HEAD = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: here}
plugins: [%s]
spec:
  resources:
"""
LAN = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: Interface
      metadata: {name: lan}
      spec: {ifname: lan0, managed: false}
    - apiVersion: net.routerd.net/v1alpha1
      kind: IPv4StaticAddress
      metadata: {name: lan-ipv4}
      spec: {interface: lan, address: 10.1.0.1/24}
"""
ROUTE = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: IPv4StaticRoute
      metadata: {name: branch}
      spec: {destination: 10.50.0.0/16, via: 10.1.0.2}
"""
FORWARDING = """\
    - apiVersion: system.routerd.net/v1alpha1
      kind: Sysctl
      metadata: {name: forwarding}
      spec: {key: net.ipv4.ip_forward, value: "1"}
"""
TUNNEL = """\
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: TunnelInterface
      metadata: {name: t1}
      spec: {mode: ipip, local: 10.1.0.1, remote: 10.1.0.2, address: 10.9.0.1/31, trustedUnderlay: true}
"""
LOOSE = """\
    - apiVersion: system.routerd.net/v1alpha1
      kind: Sysctl
      metadata: {name: loose}
      spec: {key: net.ipv4.conf.lan0.rp_filter, value: "2"}
"""


def prepare() -> None:
    """Make the host's directories and its one device."""
    for place in ("/run", "/var/lib"):
        sh(f"mount -t tmpfs tmpfs {place}")
    sh("ip link set lo up")
    sh("ip link add lan0 type bridge && ip link set lan0 up")


def sh(command: str) -> str:
    """Run a shell command and return its output; its failure is the test's."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def write(*parts: str, plugins: str = "") -> None:
    """Write the configuration file."""
    CONFIG.write_text(HEAD % plugins + "".join(parts))


def routerd(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*ROUTERD, *words, "--config", str(CONFIG)], capture_output=True, text=True, check=False, timeout=300
    )


def status() -> dict[str, object]:
    """Return the daemon's status."""
    done = routerd("status", "--json")
    assert done.returncode in (0, 3), done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition; at its deadline show the log."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not come true in {seconds} s; log:\n{LOG.read_text()}"
        time.sleep(0.05)


@contextlib.contextmanager
def daemon(*options: str, ready: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon; with `ready`, yield once it says so."""
    with (
        LOG.open("ab") as log,
        subprocess.Popen([*ROUTERD, "--config", str(CONFIG), *options], stderr=log, stdout=log) as process,
    ):
        try:
            until(lambda: process.poll() is not None or (SOCKET.exists() and b"starting" in LOG.read_bytes()))
            if ready:
                until(lambda: process.poll() is None and routerd("status").returncode == 0)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=300)


def routes() -> str:
    """Return the routes of the main table."""
    return sh("ip route")


def log() -> str:
    """Return what the daemons have logged."""
    return LOG.read_text()


def listen_for_systemd() -> socket.socket:
    """Be the service manager: return a socket on which `sd_notify` messages arrive."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind("/run/notify")
    made.settimeout(300)
    os.environ["NOTIFY_SOCKET"] = "/run/notify"
    return made


def processor(process: subprocess.Popen[bytes]) -> float:
    """Return the seconds of processor time that the daemon has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def passes() -> int:
    """Return how often the daemon has looked at the host."""
    lanes = status()["lanes"]
    assert isinstance(lanes, dict)
    return int(lanes["host"]["passes"])
