"""An emulated host with guests in memory, and the plugin on it. Not a test itself."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from tests.support.guest_kernel import GuestKernel, KernelRoute

from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, NicRef, RouteTableRef
from routerd.testing.context import RecordingLogger, make_context
from routerd_cloud_pve.config import Guest as GuestOptions
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.plugin import PveFabric
from routerd_lab.clouds.pve import AGENT, AUDIT, NETWORK, PveHost
from routerd_lab.clouds.pve_guest import Guest

TOKEN = "routerd@pve!fabric=7a0c39b1-5d5e-4f5a-8d35-0f6a2f9f3c11"
GATEWAY = IPv4Address("10.99.9.1")
REMOTE = [IPv4Network(text) for text in ("10.81.10.20/32", "10.82.10.20/32", "10.83.10.20/32")]
TABLE = RouteTableRef("qemu/101")
OTHER = IPv4Address("10.99.9.2")
"""Another router of the site."""


class SteppingClock:
    """A clock whose sleeps end at once and have taken their time; the tests wait for nothing."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        await asyncio.sleep(0)


class Home:
    """The emulated host and the systems of its guests."""

    def __init__(self) -> None:
        self.answer_with_pages = False
        self.mute = ""
        self.released = asyncio.Event()
        self.asked = 0
        self.client = GuestKernel({"ens18": "192.168.1.47/24", "ens19": "10.99.9.10/24"})
        self.other = GuestKernel({"ens18": "192.168.1.48/24", "ens19": "10.99.9.11/24"})
        self.host = PveHost(
            token=TOKEN,
            guests={
                100: Guest(
                    name="pve-leaf",
                    system=GuestKernel({"ens18": "192.168.1.43/24", "ens19": "10.99.9.1/24"}),
                    config={
                        "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
                        "net1": "virtio=BC:24:11:00:00:02,bridge=vmbr1,firewall=1",
                    },
                    firewall={"enable": 1, "ipfilter": 1},
                ),
                101: Guest(name="pve-client", system=self.client),
                102: Guest(name="pve-other", system=self.other),
            },
            # The least that the README asks for; any call beyond it would be refused.
            privileges={
                100: frozenset({AUDIT, NETWORK}),
                101: frozenset({AUDIT, AGENT}),
                102: frozenset({AUDIT, AGENT}),
            },
        )

    def place_foreign(self, prefix: IPv4Network, *, metric: int = 0) -> None:
        self.client.routes.append(
            KernelRoute(
                prefix=prefix,
                device="ens19",
                gateway=IPv4Address("10.99.9.77"),
                protocol=4,
                metric=metric,
            )
        )

    def ours(self, kernel: GuestKernel) -> set[IPv4Network]:
        return {route.prefix for route in kernel.routes if route.protocol == 147 and route.gateway == GATEWAY}


def options(
    tmp_path: Path, *, vmid: int | None = 100, guests: Sequence[int] = (101,), ca: bool = True
) -> PveOptions:
    return PveOptions(
        host="pve.example",
        token_file=tmp_path / "token",
        ca_file=tmp_path / "ca.pem" if ca else None,
        gateway=GATEWAY,
        guests=tuple(GuestOptions(vmid=number, device="ens19") for number in guests),
        vmid=vmid,
    )


@contextlib.asynccontextmanager
async def started(
    tmp_path: Path, given: PveOptions, *, log: RecordingLogger | None = None
) -> AsyncIterator[PveFabric]:
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock(), log=log), given)
    await fabric.start()
    yield fabric
    await fabric.aclose()


def written(kernel: GuestKernel) -> int:
    return sum("-batch" in command for command in kernel.commands)


def key(prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=TABLE, prefix=prefix)


ROUTE = FabricRoute(next_hop=str(GATEWAY))


def create(prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    return Change(key=key(prefix), before=None, after=ROUTE)


def delete(prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    return Change(key=key(prefix), before=ROUTE, after=None)


THEIRS = FabricRoute(next_hop=str(OTHER))
ON, OFF = Forwarding(enabled=True), Forwarding(enabled=False)
NIC = NicRef("qemu/100")
