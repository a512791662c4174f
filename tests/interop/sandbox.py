"""Namespaces for a test: it runs itself once more inside, where it may make links and listen on port 179."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

INSIDE = "ROUTERD_INTEROP_INSIDE"
DEADLINE = 900
"""Seconds for a run inside; who waits for it waits somewhat longer."""

AT_ONCE = 3
"""Runs inside at once."""

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
"""Where daemons are too; it is not in every user's path."""


def run(*command: str) -> str:
    """Run a command, which must succeed, and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


Finished = subprocess.CompletedProcess[str]


class Runs:
    """The runs inside, some at once and ahead of their turn, for they wait more than they compute."""

    def __init__(self, session: pytest.Session) -> None:
        self._root = session.config.rootpath
        self._pool = ThreadPoolExecutor(AT_ONCE)
        alone = hasattr(
            session.config, "workerinput"
        )  # a worker of xdist does not know what it will be given
        wanted = [] if alone or INSIDE in os.environ or session.config.option.collectonly else session.items
        self._runs = {
            item.nodeid: self._submit(item)
            for item in wanted
            if isinstance(item, pytest.Function) and "inside" in item.fixturenames
        }

    def outcome(self, item: pytest.Item) -> Finished:
        """Wait for the run of a test, and return how it ended."""
        run = self._runs.pop(item.nodeid, None) or self._submit(item)
        return run.result()

    def close(self) -> None:
        """Start none of those that nobody has asked for."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, item: pytest.Item) -> Future[Finished]:
        return self._pool.submit(_run_inside, f"{item.path}::{item.name}", self._root)


def _run_inside(node: str, root: Path) -> Finished:
    return subprocess.run(
        [
            *("unshare", "-Urnm", "--"),
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"),
            *(f"--timeout={DEADLINE}", node),
        ],
        env={**os.environ, INSIDE: "1", "PATH": PATH},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=DEADLINE + 20,
        check=False,
    )


def enter(request: pytest.FixtureRequest, runs: Runs, scratch: Path) -> bool:
    """Say whether this is the run inside the namespaces; outside, pass on how that one ended."""
    if os.environ.get(INSIDE):
        _furnish(scratch)
        return True
    done = runs.outcome(request.node)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    if "1 skipped" in done.stdout:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert "1 passed" in done.stdout, done.stdout
    return False


def _furnish(scratch: Path) -> None:
    """Put a /run of our own over the host's, and what FRR looks for elsewhere.

    FRR's daemons end unless their user is in the group frrvty, and its shell unless /etc/frr can be
    read, which is its own user's. Both are hidden here; the namespace ends with the test.
    """
    run("mount", "-t", "tmpfs", "none", "/run")
    run("ip", "link", "set", "lo", "up")
    if Path("/etc/frr").is_dir():
        run("mount", "-t", "tmpfs", "none", "/etc/frr")
        Path("/etc/frr/vtysh.conf").touch()
        groups = scratch / "group"
        groups.write_text("root:x:0:\nfrrvty:x:1:root\n")
        run("mount", "--bind", str(groups), "/etc/group")


def silence(*namespaces: str) -> None:
    """Drop all that arrives over the links, in our namespace and in others: nobody is told anything."""
    for namespace in ("", *namespaces):
        at = ["ip", "netns", "exec", namespace] if namespace else []
        run(*at, "nft", "add table inet silence")
        run(*at, "nft", "add chain inet silence in { type filter hook input priority 0; policy drop; }")
        run(*at, "nft", 'add rule inet silence in iifname "lo" accept')


def speak(*namespaces: str) -> None:
    """Take `silence` back."""
    for namespace in ("", *namespaces):
        at = ["ip", "netns", "exec", namespace] if namespace else []
        run(*at, "nft", "delete table inet silence")


def md5_failures() -> int:
    """Return how many segments the kernel has dropped for a wrong or missing TCP MD5 signature (RFC 2385)."""
    lines = [line.split() for line in Path("/proc/net/netstat").read_text().splitlines()]
    counters = {
        name: int(value)
        for names, values in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(names[1:], values[1:], strict=True)
    }
    return sum(counters.get(f"TCPMD5{why}", 0) for why in ("NotFound", "Unexpected", "Failure"))


def kernel_has_md5() -> bool:
    """Say whether the kernel has TCP MD5 (RFC 2385); without a key, setting one is to end it."""
    key = struct.pack("=H2x4s120x8x80s", socket.AF_INET, socket.inet_aton("127.0.0.1"), b"")
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, 14, key)  # TCP_MD5SIG
        except OSError as error:
            return error.errno != errno.ENOPROTOOPT
    return True
