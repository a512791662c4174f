"""Kernel routes and the reconcile pass, inside a user namespace of its own.

`report` starts this module there; `main` measures. The peers are `ip -batch` for changes, `ip -j route`
for reading, and pyroute2 called once for each route. Each side is measured several times in turn and
its best counts. Processor time is told beside the clock's: it hardly depends on what else runs.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pyroute2 import IPRoute
from tests.bench import show
from tests.support.modes import MODES

from routerd import config
from routerd.kernel.routes.table import RouteTable
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.route import LearnedRoute, NextHop, Route, RouteKey, RouteSet
from routerd.process.clock import SystemClock
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.diff import diff
from routerd.reconcile.loop import Binding, Loop
from routerd.testing.context import RecordingLogger

SIZES = (10, 1_000, 10_000)
REPEATS = 5
ROUTES = 20_000
MANY_ROUTES = 50_000
SLOW_ROUTES = 1_000
"""pyroute2 gets fewer, because it takes a second for some 1,400."""

WIDTHS = (26, 14, 14, 14, 14, 14)
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
    asyncio.run(_dump_and_diff())
    asyncio.run(_passes())


def _sh(command: str, text: str = "") -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True, input=text).stdout


def _keys(count: int) -> list[RouteKey]:
    return [RouteKey(prefix=IPv4Network(FIRST + number)) for number in range(count)]


ROUTE = Route(next_hops=(NextHop(gateway=GATEWAY, link=LinkName("v0")),))
OTHER = Route(next_hops=(NextHop(link=LinkName("v0")),))


RouteChange = Change[RouteKey, Route]


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


class Best:
    """The least time that each of several things took, by the clock and of the processors."""

    def __init__(self) -> None:
        self.clock: dict[str, float] = {}
        self.processor: dict[str, float] = {}

    async def ours(self, name: str, work: Awaitable[object]) -> None:
        """Measure one run; nothing may be refused in it."""
        before, began = _processor(), time.perf_counter()
        refused = await work
        self._note(name, time.perf_counter() - began, _processor() - before)
        assert name in READS or not refused, refused

    def theirs(self, name: str, work: Callable[[], object]) -> None:
        """Measure one run of a peer."""
        before, began = _processor(), time.perf_counter()
        work()
        self._note(name, time.perf_counter() - began, _processor() - before)

    def _note(self, name: str, clock: float, processor: float) -> None:
        self.clock[name] = min(clock, self.clock.get(name, clock))
        self.processor[name] = min(processor, self.processor.get(name, processor))


READS = ("dump", "dump after a restart")


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _lines(verb: str, tail: str, keys: Iterable[RouteKey]) -> str:
    return "".join(f"route {verb} {key.prefix} {tail}\n" for key in keys)


def _changes(keys: Iterable[RouteKey], before: Route | None, after: Route | None) -> list[RouteChange]:
    return [Change(key=key, before=before, after=after) for key in keys]


async def _kernel_routes() -> None:
    show.title(
        f"kernel routes, {ROUTES:,} /32 each, acknowledged ({SLOW_ROUTES:,} for pyroute2), routes per second"
    )
    show.row("", "routerd", "ip", "pyroute2", "against ip", "processor", widths=WIDTHS)
    keys = _keys(ROUTES)
    install, replace, delete = (
        _changes(keys, *pair) for pair in ((None, ROUTE), (ROUTE, OTHER), (OTHER, None))
    )
    lines = {
        "install": _lines("add", f"via {GATEWAY} dev v0 proto 147 metric 200", keys),
        "replace": _lines("replace", "dev v0 proto 147 metric 200", keys),
        "delete": _lines("del", "metric 200", keys),
    }
    ours, theirs, slow = Best(), Best(), Best()
    for _ in range(REPEATS):
        table = RouteTable()
        await ours.ours("install", table.apply(install))
        await ours.ours("replace", table.apply(replace))
        await ours.ours("dump after a restart", RouteTable().observe())
        await table.observe()
        await ours.ours("dump", table.observe())
        await ours.ours("delete", table.apply(delete))
        for name in ("install", "replace"):
            theirs.theirs(name, lambda name=name: _sh("ip -batch -", lines[name]))
        theirs.theirs("dump", _dump)
        theirs.theirs("delete", lambda: _sh("ip -batch -", lines["delete"]))
        await asyncio.to_thread(_pyroute2, slow)
    for name, took in ours.clock.items():
        peer = "dump" if name in READS else name
        show.row(
            name,
            f"{ROUTES / took:,.0f}",
            f"{ROUTES / theirs.clock[peer]:,.0f}",
            f"{SLOW_ROUTES / slow.clock[peer]:,.0f}",
            f"x {theirs.clock[peer] / took:.1f}",
            f"x {theirs.processor[peer] / ours.processor[name]:.1f}",
            widths=WIDTHS,
        )


async def _dump_and_diff() -> None:
    show.title(f"{MANY_ROUTES:,} routes read from the kernel and compared, with nothing to do")
    show.row("", "routerd", "ip -j route", "against ip", "per route")
    table = RouteTable()
    desired = dict.fromkeys(_keys(MANY_ROUTES), ROUTE)
    await table.apply(diff(desired, {}))
    best = Best()

    async def compare() -> list[RouteChange]:
        return diff(desired, await table.observe(), agrees=table.agrees)

    for _ in range(REPEATS):
        await best.ours("dump and diff", compare())
        best.theirs("ip", _dump)
    ours, theirs = best.clock["dump and diff"], best.clock["ip"]
    show.row("dump and diff", show.seconds(ours), show.seconds(theirs), f"x {theirs / ours:.1f}",
             f"{ours / MANY_ROUTES * 1e6:.1f} us")  # fmt: skip
    await table.apply(diff({}, desired))


def _pyroute2(best: Best) -> None:
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
            best.theirs(name, lambda step=step: [step(key) for key in keys])
            if name == "replace":
                best.theirs("dump", lambda: list(ipr.get_routes(proto=147)))


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
        peer = Best()
        for _ in range(REPEATS):
            peer.theirs("dump", _dump)
        theirs = peer.clock["dump"]
        show.row(f"{size:,}", show.seconds(ours), show.seconds(theirs), show.ratio(ours, theirs),
                 f"{ours / size * 1e6:.1f} us")  # fmt: skip
        if before is not None:
            factor, growth = size / before[0], ours / before[1]
            show.row(f"  {factor:.0f} times the routes cost {growth:.1f} times the time")
        before = size, ours


def _dump() -> None:
    json.loads(_sh("ip -j route show proto 147"))


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
        derive=lambda: derive(Inputs(modes=MODES, intent=intent, now=now, learned=learned)),
        clock=SystemClock(),
        log=RecordingLogger(),
    )


if __name__ == "__main__":
    main()
