"""Nodes with a speaker each, on loopback addresses of their own and a high port."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest

from routerd.model.change import Change
from routerd.model.route import RouteSet
from routerd.model.session import Advertisement, ImportPolicy, Session, SessionState, Speaker, Timers
from routerd.spi import PluginContext
from routerd.testing.context import make_context
from routerd_bgp_ryu.config import BgpOptions
from routerd_bgp_ryu.routing import BgpRouting

ASN = 64577
PORT = 17900
FAST = Timers(connect_retry=1, hold=3, keepalive=1)
OWNER = "BGPRouter/test"
Nodes = Callable[..., "Node"]


def host(text: str) -> IPv4Network:
    """Return a prefix."""
    return IPv4Network(text)


async def put(
    table: Any,  # noqa: ANN401 - Any: a table of whatever keys and values
    key: object,
    value: object | None,
    before: object | None = None,
) -> None:
    """Make one change, which must succeed."""
    failures = await table.apply([Change(key=key, before=before, after=value)])
    assert failures == {}, {key: str(error) for key, error in failures.items()}


@attrs.define(eq=False)
class Node:
    """A daemon's provider, and the newest set that it yielded."""

    address: IPv4Address
    context: PluginContext
    options: BgpOptions
    routing: BgpRouting
    last: RouteSet = RouteSet()
    sets: int = 0
    task: asyncio.Task[None] | None = None
    changed: asyncio.Condition = attrs.field(factory=asyncio.Condition)

    async def start(self, **speaker: Any) -> None:  # noqa: ANN401 - Any: passed on
        """Start the provider and its speaker."""
        await self.routing.start()
        self.task = asyncio.create_task(self._follow())
        value = Speaker(asn=ASN, router_id=self.address, owner=OWNER, port=PORT, listen=self.address)
        value = attrs.evolve(value, **speaker)
        await put(self.routing.speakers, "test", value)

    async def _follow(self) -> None:
        async for routes in self.routing.learned():
            self.last = routes
            self.sets += 1

    async def pid(self) -> int:
        """Return the process of the speaker."""
        hello: Any = await self.routing._link.ask("hello")  # noqa: SLF001 - the test kit of the same plugin
        return int(hello["pid"])

    async def serve(self, leaf: Node, *prefixes: str, **more: Any) -> None:  # noqa: ANN401 - Any: passed on
        """Admit a leaf, as a route reflector does."""
        policy = ImportPolicy(hosts=frozenset(map(host, prefixes)))
        await put(self.routing.import_policies, leaf.address, policy)
        session = Session(
            peer_asn=ASN,
            owner=OWNER,
            passive=True,
            route_reflector_client=True,
            next_hop_self=True,
            timers=FAST,
            **more,
        )
        await put(self.routing.sessions, leaf.address, session)

    async def join(self, rr: Node, within: str = "10.88.0.0/16", **more: Any) -> None:  # noqa: ANN401 - Any: passed on
        """Dial a route reflector, as a leaf does."""
        await put(self.routing.import_policies, rr.address, ImportPolicy(within=frozenset({host(within)})))
        session = Session(peer_asn=ASN, owner=OWNER, source=self.address, timers=FAST, **more)
        await put(self.routing.sessions, rr.address, session)

    async def announce(self, *prefixes: str, **more: Any) -> None:  # noqa: ANN401 - Any: passed on
        """Originate prefixes."""
        for prefix in prefixes:
            await put(self.routing.advertisements, host(prefix), Advertisement(owner=OWNER, **more))

    async def withdraw(self, prefix: str) -> None:
        """Withdraw a prefix."""
        await put(self.routing.advertisements, host(prefix), None, Advertisement(owner=OWNER))

    async def state(self, neighbour: Node) -> SessionState:
        """Return how the session with a neighbour does."""
        return {state.neighbour: state for state in await self.routing.states()}[neighbour.address]

    def learned(self) -> dict[str, set[str]]:
        """Return next hops by prefix, of the best paths."""
        found: dict[str, set[str]] = {}
        for route in self.last.routes:
            if route.best:
                found.setdefault(str(route.prefix), set()).add(str(route.next_hop))
        return found

    def rejected(self) -> Mapping[str, str]:
        """Return reasons by prefix."""
        return {str(each.prefix): each.reason for each in self.last.rejected}

    async def leave(self) -> None:
        """Let go of the speaker, as a daemon does that ends."""
        await self.routing.aclose()
        if self.task is not None:
            async with asyncio.timeout(5):
                await self.task


async def pair(
    nodes: Nodes,
    claims: tuple[str, str],
    **options: Any,  # noqa: ANN401 - Any: passed on
) -> tuple[Node, Node, Node]:
    """Return a reflector and two leaves that it has admitted; they do not announce their claims yet."""
    rr, one, two = nodes(**options), nodes(**options), nodes(**options)
    for node in (rr, one, two):
        await node.start()
    for leaf, claim in zip((one, two), claims, strict=True):
        await rr.serve(leaf, claim)
        await leaf.join(rr)
    return rr, one, two


async def until(condition: Callable[[], object], what: str, deadline: float = 120) -> None:
    """Wait until something holds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline):
            while not condition():  # noqa: ASYNC110 - other processes change it
                await asyncio.sleep(0.02)
            return
    pytest.fail(f"not within {deadline:g} s: {what}")


async def established(*pairs: tuple[Node, Node], deadline: float = 120) -> None:
    """Wait until sessions are up, as the first of each pair sees it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline):
            while not all([(await one.state(other)).established for one, other in pairs]):  # noqa: ASYNC110 - other processes change it
                await asyncio.sleep(0.02)
            return
    pytest.fail(f"not established: {[await one.state(other) for one, other in pairs]}")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Return a directory for sockets, whose paths must be short."""
    path = Path(tempfile.mkdtemp(prefix="rd-bgp-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def nodes(short_path: Path) -> AsyncIterator[Nodes]:
    """Make nodes; their speakers end with the test."""
    made: list[Node] = []
    # Another block for each test, so that runs at the same time do not meet; not from `random`, which
    # a test run seeds alike in all of its processes.
    block = f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(250)}"
    numbers = itertools.count(1)

    def make(like: Node | None = None, **options: Any) -> Node:  # noqa: ANN401 - Any: passed on
        """Return a new node, or a new daemon on the node `like`."""
        number = next(numbers)
        if like is None:
            where = short_path / str(number)
            where.mkdir()
            context = make_context(where)
        else:
            context = like.context
        chosen = BgpOptions(**{"child_grace": timedelta(seconds=20), **options})
        node = Node(
            address=like.address if like else IPv4Address(f"{block}.{number}"),
            context=context,
            options=chosen,
            routing=BgpRouting(context, chosen),
        )
        made.append(node)
        return node

    yield make
    for node in made:
        with suppress(ProcessLookupError):
            await node.routing._link.stop()  # noqa: SLF001 - as above
        await node.leave()


def alive(pid: int) -> bool:
    """Say whether a process runs."""
    return Path(f"/proc/{pid}/cmdline").exists()
