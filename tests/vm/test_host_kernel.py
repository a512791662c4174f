"""routerd on a host that is not empty: what it opens, sets, says, leaves alone and undoes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(3000)

ROOT = Path(__file__).parents[2]
PROGRAMS = ("ip", "nft", "iptables-nft", "iptables-legacy", "wg", "nstat")


def _live(namespaces: str, kind: str) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    assert not missing, f"not installed: {', '.join(missing)}"
    done = subprocess.run(
        [
            *("unshare", namespaces, "--mount-proc", "--kill-child", "sh", "-c"),
            'mount -t tmpfs none /run && mount -t tmpfs none /var/lib && "$@"; exit $?',
            *("sh", sys.executable, "-m", "tests.vm.inside_host_kernel", kind),
        ],
        capture_output=True,
        text=True,
        timeout=2950,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-16000:]


@pytest.mark.vm
def test_a_host_with_tunnels_of_the_kernel_is_afterwards_as_it_was_before() -> None:
    if os.geteuid() or subprocess.run("modprobe -nq ipip", shell=True, check=False).returncode:
        pytest.skip("this kernel has no ipip, or its modules are not ours to load")
    # Not in a user namespace: only from this one can modules be loaded.
    _live("-nmpf", "kernel")


@pytest.mark.netns
def test_a_host_with_tunnels_of_processes_is_afterwards_as_it_was_before() -> None:
    _live("-Urnmpf", "userspace")
