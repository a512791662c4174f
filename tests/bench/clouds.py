"""What a leaf costs its cloud's API: calls and time, from cold, for one change, and in an idle hour.

The router, its plugin and the official SDK are real; the emulated cloud answers over TLS on loopback. Time
is the wall clock's for our work and the emulator's, plus what the plugin waits by its own token bucket,
which passes without being waited for. The network's own latency, some 50 to 300 ms a call, comes on top.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler
from tests.bench import clouds_by_hand, show
from tests.cloud.account import Account
from tests.cloud.account_aws import AwsAccount
from tests.cloud.account_azure import AzureAccount
from tests.cloud.account_oci import OciAccount
from tests.cloud.account_pve import PveAccount
from tests.cloud.chaos_world import World
from tests.cloud.storm_time import WatchedLoop

from routerd_cloud_azure import client as azure_client

ACCOUNTS: dict[str, Callable[[], Account]] = {
    "aws": AwsAccount,
    "azure": AzureAccount,
    "oci": OciAccount,
    "pve": PveAccount,
}
SIZES = (1, 50, 400)
BY_HAND = 50
FIRST = IPv4Address("10.140.0.0")
WIDTHS = (34, 10, 10, 12, 12, 12)


@attrs.define
class Calm(World):
    """The same world without a judge, who would take longer than the router."""

    calls: list[str] = attrs.field(factory=list)

    def _audit(self) -> None:
        """Judge nothing."""

    async def _between(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.clock.serving += 1
        try:
            return await handler(request)
        finally:
            self.clock.serving -= 1


@attrs.frozen(kw_only=True)
class Cost:
    """Calls by operation and seconds of one thing that was done."""

    calls: Counter[str]
    seconds: float

    @property
    def total(self) -> int:
        return self.calls.total()


async def measured(world: World, prefixes: Sequence[IPv4Network], *, then: float = 0.0) -> Cost:
    """Let these prefixes be announced, wait `then` seconds of the router's time, and return what it took."""
    before, began, waited = len(world.account.troubles.calls), time.perf_counter(), world.clock.elapsed
    await world.want(prefixes)
    paced = world.clock.elapsed - waited
    if then:
        await world.advance(then)
    seconds = time.perf_counter() - began + paced
    return Cost(calls=Counter(world.account.troubles.calls[before:]), seconds=seconds)


@attrs.frozen(kw_only=True)
class Costs:
    """What one cloud took with so many addresses; `refused` of them had no room."""

    cold: Cost
    hour: Cost
    less: Cost
    more: Cost
    refused: int


async def one(name: str, size: int, *, aggregate: bool = False) -> Costs:
    """Measure one cloud with `size` remote addresses."""
    prefixes = [IPv4Network((FIRST + number, 32)) for number in range(size)]
    with tempfile.TemporaryDirectory(prefix="rdb-", dir="/tmp") as place:
        world = Calm(account=ACCOUNTS[name](), directory=Path(place))
        async with world.served():
            await world.start("auto", aggregate=aggregate)
            cold = await measured(world, prefixes)
            report = world.report()
            hour = await measured(world, prefixes, then=3600.0)
            less = await measured(world, prefixes[1:], then=120.0)
            more = await measured(world, prefixes)
    assert report is not None
    return Costs(cold=cold, hour=hour, less=less, more=more, refused=len(report.refused))


def run(name: str, size: int, *, aggregate: bool = False) -> Costs:
    """Measure on an event loop that knows when nothing happens any longer."""
    loop = WatchedLoop()
    try:
        return loop.run_until_complete(one(name, size, aggregate=aggregate))
    finally:
        loop.threads.shutdown()
        loop.close()


def report() -> None:
    """Print calls and time for each cloud and size, and the ratio to a script of one call a route."""
    azure_client.POLL_SECONDS = 0.05  # the emulator is done at once; Azure takes seconds a write
    show.title("clouds: calls of the API, and time, for so many remote addresses")
    head = ("calls to", "cold", "1 more", "1 less", "idle hour", "cold, time")
    for name, make in ACCOUNTS.items():
        show.row(f"{name}", *head[1:], widths=WIDTHS)
        for size, aggregate in (*((size, False) for size in SIZES), (SIZES[-1], True)):
            found = run(name, size, aggregate=aggregate)
            refused = f", {found.refused} refused" if found.refused else ""
            label = f"  {size} addresses" + (" aggregated" if aggregate else "") + refused
            show.row(
                label,
                found.cold.total,
                found.more.total,
                found.less.total,
                found.hour.total,
                show.seconds(found.cold.seconds),
                widths=WIDTHS,
            )
        ours = run(name, BY_HAND)
        with tempfile.TemporaryDirectory(prefix="rdb-", dir="/tmp") as place:
            theirs = clouds_by_hand.measured(make(), Path(place), BY_HAND)
        show.row(
            f"  {BY_HAND} by a script of the SDK",
            theirs.calls,
            *("", "", ""),
            show.seconds(theirs.seconds),
            widths=WIDTHS,
        )
        show.row(
            "  ours to that",
            show.ratio(ours.cold.total, theirs.calls),
            *("", "", ""),
            show.ratio(ours.cold.seconds, theirs.seconds),
            widths=WIDTHS,
        )
