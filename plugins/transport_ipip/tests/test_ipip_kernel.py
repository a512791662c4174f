"""The kernel backend on a kernel that has the modules, and the relay against it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3000)]

HERE = Path(__file__).parent
PROBE = """
import asyncio, sys
from routerd.testing.live import real_kernel
from routerd_transport_ipip.fou import FouListeners, NetlinkFou
from pathlib import Path
async def main():
    fou = FouListeners(Path("/run"), NetlinkFou())
    kernel = real_kernel()
    return await kernel.supports("ipip") and await kernel.supports("gre") and await fou.supported()
sys.exit(not asyncio.run(main()))
"""


# Root keeps its own user namespace: only from there can the daemon load the module fou.
NAMESPACES = "-nmpf" if os.geteuid() == 0 else "-Urnmpf"


def _inside(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("unshare", NAMESPACES, "--mount-proc", "--kill-child", "sh", "-c"),
            *('mount -t tmpfs none /run && ip link set lo up && exec "$@"', "sh", sys.executable, *words),
        ],
        capture_output=True,
        text=True,
        timeout=2950,
        check=False,
        cwd=HERE.parents[2],
        env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
    )


@pytest.mark.parametrize("part", ["gre", "not gre"])
def test_tunnels_of_the_kernel(part: str) -> None:
    if _inside("-c", PROBE).returncode:
        pytest.skip("this kernel has no ipip, no gre or no fou")
    inside = str(HERE / "inside_ipip_kernel.py")
    done = _inside("-m", "pytest", "-q", "--timeout=2900", "-p", "no:cacheprovider", "-k", part, inside)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
