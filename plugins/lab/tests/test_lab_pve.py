"""The lab's Proxmox VE site, and its guest in memory against a kernel and the `ip` of this host."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

import pytest
from aiohttp.test_utils import TestClient, TestServer
from tests.support.guest_kernel import GuestKernel, KernelRoute

from routerd_lab.adapters import make_cloud
from routerd_lab.clouds.pve_guest import Ended
from routerd_lab.topology import PVE

TOKEN = "routerd@pve!fabric=7a0c39b1-5d5e-4f5a-8d35-0f6a2f9f3c11"


async def test_the_labs_site_has_a_guest_for_each_holder() -> None:
    cloud = make_cloud(PVE, lambda: None, {100: 1, 101: 1}, token=TOKEN)
    headers = {"Authorization": f"PVEAPIToken={TOKEN}"}
    async with TestClient(TestServer(cloud.api)) as client:
        answer = await client.get("/api2/json/cluster/resources", headers=headers)
        listed = (await answer.json())["data"]
    assert {each["vmid"]: each["name"] for each in listed} == {100: "pve-leaf", 101: "pve-client"}
    assert cloud.controls is None


class Namespace:
    """A network namespace with the devices of the guest in memory."""

    def __init__(self, holder: subprocess.Popen[str]) -> None:
        self._prefix = ["nsenter", "-t", str(holder.pid), "-U", "-n", "--preserve-credentials", "--"]

    def run(self, command: Sequence[str], text: str = "") -> Ended:
        done = subprocess.run(
            [*self._prefix, *command], input=text, capture_output=True, text=True, check=False, timeout=20
        )
        return Ended(status=done.returncode, out=done.stdout, err=done.stderr)


_DEVICES = {"ens18": "192.168.1.47/24", "ens19": "10.99.9.10/24"}


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    steps = [
        f"ip link add {name} type veth peer name x{name} && ip link set x{name} up && "
        f"ip link set {name} up && ip address add {address} dev {name}"
        for name, address in _DEVICES.items()
    ]
    script = " && ".join([*steps, "echo ready", "exec sleep infinity"])
    holder = subprocess.Popen(
        ["unshare", "-Urn", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stderr is not None
    try:
        assert holder.stdout.readline() == "ready\n", holder.stderr.read()
        yield Namespace(holder)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stderr.close()


SHOW = ("ip", "-N", "-j", "-4", "route", "show")
BATCH = ("ip", "-N", "-j", "-4", "-force", "-batch", "-")

SCRIPTS = [
    "route add 10.81.10.20/32 via 10.99.9.1 dev ens19 proto 147",
    "route add 10.81.10.20/32 via 10.99.9.1 proto 147",
    "route add 10.81.10.20/32 via 172.16.0.1 dev ens19 proto 147",
    "route add 10.81.10.20/32 via 10.99.9.1 dev ens18 proto 147",
    "route add 10.81.10.20/32 via 10.99.9.1 dev ens7 proto 147",
    "route add 10.83.10.20/32 via 10.99.9.1 dev ens19 proto 147",
    "route add 10.83.10.20/32 via 10.99.9.1 metric 50 proto 147\nroute del 10.83.10.20/32",
    "route del 10.83.10.20/32 via 10.99.9.1 proto 147",
    "route del 10.83.10.20/32 via 10.99.9.77 proto 147",
    "route del 10.83.10.20/32 via 10.99.9.77",
    "route del 10.1.2.3/32 via 10.99.9.1 proto 147",
    "route add 10.1.1.1/32 via 10.99.9.1 proto 147\nbogus\nroute add 10.1.1.1/32 via 10.99.9.1 proto 147",
    "route add 10.1.1.0/24 via 10.99.9.1\nroute add 0.0.0.0/0 via 192.168.1.1",
    "route del 10.83.10.20/32 via 10.99.9.77\nroute add 10.83.10.20/32 via 10.99.9.1 dev ens19 proto 147",
    "route del 10.83.10.20/32 via 10.99.9.2\nroute add 10.83.10.20/32 via 10.99.9.1 dev ens19 proto 147",
    "route add blackhole 10.1.1.1/32\nroute add unreachable 10.1.1.2/32 proto 147",
    "route add blackhole 10.1.1.1/32\nroute add prohibit 10.1.1.1/32",
]


@pytest.mark.netns
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
@pytest.mark.parametrize("script", SCRIPTS)
async def test_the_guest_in_memory_does_and_says_what_a_kernel_does(
    namespace: Namespace, script: str
) -> None:
    memory = GuestKernel(_DEVICES)
    memory.routes.append(
        KernelRoute(
            prefix=IPv4Network("10.83.10.20/32"),
            device="ens19",
            gateway=IPv4Address("10.99.9.77"),
        )
    )
    assert namespace.run(("ip", "route", "add", "10.83.10.20/32", "via", "10.99.9.77")).status == 0
    real = namespace.run(BATCH, script + "\nroute show\n")
    made = await memory.run(BATCH, script + "\nroute show\n")
    assert (made.status, made.err) == (real.status, real.err)
    assert (
        _routes(made) == _routes(real) == _routes(await memory.run(SHOW, "")) == _routes(namespace.run(SHOW))
    )


def _routes(shown: Ended) -> list[dict[str, object]]:
    """Return what `ip` printed, less what the guest in memory does not keep."""
    return [
        {name: value for name, value in row.items() if name not in ("scope", "prefsrc")}
        for row in json.loads(shown.out)
    ]
