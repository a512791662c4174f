"""A router's cloud half as a process of its own, to be killed. Not a test: `test_sigkill.py` runs it.

Real are plugin, SDK, loop, journal, state file and clock; what the neighbours announce changes all the time,
or is what the last arguments say.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
from tests.cloud.chaos_process import Keeper, configured
from tests.support.loopback import names_on_loopback

from routerd.model.route import LearnedRoute, RouteSet
from routerd.plugins.providers import ProviderFactory
from routerd.process.clock import SystemClock
from routerd.process.directories import Directories
from routerd.process.log import Log
from routerd.runtime.router import HostTables, Router
from routerd.store import open_store
from routerd.testing.fakes import FakeRouting, FakeWorld
from routerd.testing.kernel import FakeKernel
from routerd.testing.tables import FakeTable


@attrs.frozen(kw_only=True)
class Orders:
    """What the process is to do. `final` is wanted for good; without it, any of `prefixes` at times."""

    provider: str
    options: str
    directory: str
    ports: list[tuple[str, int, int]]
    prefixes: list[str]
    final: list[str] | None = None


async def live(orders: Orders) -> None:
    """Run until killed."""
    root, clock = Path(orders.directory), SystemClock()
    prepared = configured(orders.provider, orders.options, hold_down=0.0)
    directories = Directories(state=root / "state", run=root / "run")
    directories.make()
    store = open_store(root / "state" / "routerd.db", clock=clock)
    log = Log(stream=sys.stderr, level="info")
    supervisor, speaker = Keeper(clock=clock, log=log), FakeWorld()
    speaker.learned = _learned(orders.prefixes[:1] if orders.final is None else orders.final)
    factory = ProviderFactory(
        prepared=prepared,
        directories=directories,
        kernel=FakeKernel(),
        clock=clock,
        log=log,
        supervisor=supervisor,
        wake=lambda _: None,
    )
    router = Router(
        prepared,
        attrs.evolve(factory.make(), routings={"bgp": FakeRouting(speaker)}),
        tables=HostTables(
            routes=FakeTable(), addresses=FakeTable(), sysctls=FakeTable(), firewall=FakeTable()
        ),
        store=store,
        supervisor=supervisor,
        clock=clock,
        log=log,
    )
    await router.start()
    while orders.final is None:
        await asyncio.sleep(random.uniform(0.02, 0.2))
        chosen = random.sample(orders.prefixes, random.randint(0, len(orders.prefixes)))
        speaker.announce(_learned(chosen))
    await asyncio.Event().wait()


def _learned(prefixes: Iterable[str]) -> RouteSet:
    hop = IPv4Address("10.99.0.1")
    return RouteSet(
        routes=tuple(
            LearnedRoute(prefix=IPv4Network(each), next_hop=hop, neighbour=hop) for each in sorted(prefixes)
        ),
        complete=True,
    )


if __name__ == "__main__":
    told = Orders(**json.loads(sys.argv[1]))
    with names_on_loopback({(name, port): here for name, port, here in told.ports}):
        asyncio.run(live(told))
