"""Kernel routes and the reconcile pass, inside a user namespace of its own.

`report` starts this module there; `main` measures. The peers are `ip -batch` for changes, `ip -j route`
for reading, and pyroute2 called once for each route.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pyroute2 import IPRoute
from tests.bench import show

from routerd import config
from routerd.kernel.routes import RouteTable
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.route import LearnedRoute, NextHop, Route, RouteKey, RouteSet
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.loop import Binding, Loop
from routerd.runtime.clock import SystemClock
from routerd.testing.context import RecordingLogger

SIZES = (10, 1_000, 10_000)
REPEATS = 5
ROUTES = 20_000
SLOW_ROUTES = 1_000
"""pyroute2 gets fewer, because it takes a second for some 1,400."""

GATEWAY = IPv4Address("10.255.0.1")
LEAF = Path(__file__).parents[2] / "examples" / "fullmesh-leaf-aws.yaml"
FIRST = int(IPv4Address("10.96.0.0"))


def report() -> None:
    """Run `main` in a namespace with nothing in it."""
    subprocess.run(
        ["unshare", "-Urnm", sys.executable, "-m", "tests.bench.inside"],
        check=True,
        cwd=Path(__file__).parents[2],
    )


def main() -> None:
    """Measure everything."""
    _sh("ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 10.255.0.0/31 dev v0")
    _sh("ip link set v0 up; ip link set v1 up")
    asyncio.run(_kernel_routes())
    asyncio.run(_passes())


def _sh(command: str, text: str = "") -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True, input=text).stdout


def _keys(count: int) -> list[RouteKey]:
    return [RouteKey(prefix=IPv4Network(FIRST + number)) for number in range(count)]


ROUTE = Route(next_hops=(NextHop(gateway=GATEWAY, link=LinkName("v0")),))
OTHER = Route(next_hops=(NextHop(link=LinkName("v0")),))


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def _batch(verb: str, tail: str, count: int) -> float:
    lines = "".join(f"route {verb} {key.prefix} {tail}\n" for key in _keys(count))
    began = time.perf_counter()
    _sh("ip -batch -", lines)
    return time.perf_counter() - began


async def _kernel_routes() -> None:
    show.title(
        f"kernel routes, {ROUTES:,} /32 each, acknowledged ({SLOW_ROUTES:,} for pyroute2), routes per second"
    )
    show.row("", "routerd", "ip -batch", "pyroute2", "against ip")
    table = RouteTable()
    keys = _keys(ROUTES)
    ours = {
        "install": await _timed(lambda: table.apply([Change(key=k, before=None, after=ROUTE) for k in keys])),
        "replace": await _timed(
            lambda: table.apply([Change(key=k, before=ROUTE, after=OTHER) for k in keys])
        ),
        "dump": await _timed(table.observe),
        "delete": await _timed(lambda: table.apply([Change(key=k, before=OTHER, after=None) for k in keys])),
    }
    tail = f"via {GATEWAY} dev v0 proto 147 metric 200"
    theirs = {"install": _batch("add", tail, ROUTES)}
    theirs["replace"] = _batch("replace", "dev v0 proto 147 metric 200", ROUTES)
    began = time.perf_counter()
    json.loads(_sh("ip -j route show proto 147"))
    theirs["dump"] = time.perf_counter() - began
    theirs["delete"] = _batch("del", "metric 200", ROUTES)
    slow = await asyncio.to_thread(_pyroute2)
    for name, took in ours.items():
        show.row(
            name,
            f"{ROUTES / took:,.0f}",
            f"{ROUTES / theirs[name]:,.0f}",
            f"{SLOW_ROUTES / slow[name]:,.0f}",
            f"x {theirs[name] / took:.1f}",
        )


def _pyroute2() -> dict[str, float]:
    took: dict[str, float] = {}
    keys = _keys(SLOW_ROUTES)
    with IPRoute() as ipr:
        index = ipr.link_lookup(ifname="v0")[0]
        steps = {
            "install": lambda key: ipr.route(
                "add", dst=str(key.prefix), gateway=str(GATEWAY), oif=index, priority=200, proto=147
            ),
            "replace": lambda key: ipr.route(
                "replace", dst=str(key.prefix), oif=index, priority=200, proto=147
            ),
            "delete": lambda key: ipr.route("del", dst=str(key.prefix), priority=200),
        }
        for name, step in steps.items():
            began = time.perf_counter()
            for key in keys:
                step(key)
            took[name] = time.perf_counter() - began
            if name == "replace":
                began = time.perf_counter()
                list(ipr.get_routes(proto=147))
                took["dump"] = time.perf_counter() - began
    return took


async def _passes() -> None:
    show.title("a reconcile pass with nothing to do: derive from N learned routes, read the kernel, compare")
    show.row("routes", "pass", "ip -j route", "against ip", "per route")
    table = RouteTable()
    before: tuple[int, float] | None = None
    for size in SIZES:
        loop = _loop(table, size)
        while await loop.run_once("host"):
            pass
        ours = min([await _timed(lambda loop=loop: loop.run_once("host")) for _ in range(REPEATS)])
        theirs = min(_dump() for _ in range(REPEATS))
        show.row(f"{size:,}", show.seconds(ours), show.seconds(theirs), show.ratio(ours, theirs),
                 f"{ours / size * 1e6:.1f} us")  # fmt: skip
        if before is not None:
            factor, growth = size / before[0], ours / before[1]
            show.row(f"  {factor:.0f} times the routes cost {growth:.1f} times the time")
        before = size, ours


def _dump() -> float:
    began = time.perf_counter()
    json.loads(_sh("ip -j route show proto 147"))
    return time.perf_counter() - began


def _loop(table: RouteTable, size: int) -> Loop:
    intent = config.load(LEAF).intent
    learned = RouteSet(
        complete=True,
        routes=tuple(
            LearnedRoute(prefix=key.prefix, next_hop=GATEWAY, neighbour=GATEWAY) for key in _keys(size)
        ),
    )
    now = datetime.now(UTC)
    return Loop(
        [Binding(name="routes", role="routes", table=table)],
        derive=lambda: derive(Inputs(intent=intent, now=now, learned=learned)),
        clock=SystemClock(),
        log=RecordingLogger(),
    )


if __name__ == "__main__":
    main()
