"""Several route reflectors, and leaves that also talk to each other: whose path is taken when."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address

import pytest

from routerd.model.session import ImportPolicy, Session
from routerd_bgp_ryu.testing.nodes import (
    ASN,
    FAST,
    OWNER,
    Node,
    Nodes,
    established,
    host,
    put,
    until,
)

A, B = "10.88.1.1/32", "10.88.2.1/32"
POOL = host("10.88.0.0/16")
CLUSTER = IPv4Address("10.99.0.1")

pytestmark = pytest.mark.live


async def peering(one: Node, other: Node) -> None:
    """Connect two reflectors as plain internal neighbours; the first one dials."""
    for here, there, passive in ((one, other, False), (other, one, True)):
        await put(here.routing.import_policies, there.address, ImportPolicy(within=frozenset({POOL})))
        session = Session(
            peer_asn=ASN, owner=OWNER, source=here.address, passive=passive, next_hop_self=True, timers=FAST
        )
        await put(here.routing.sessions, there.address, session)


async def prefer(node: Node, neighbour: Node, preference: int) -> None:
    """Give what comes from a neighbour a local preference."""
    policy = (await node.routing.import_policies.observe())[neighbour.address]
    wanted = ImportPolicy(within=policy.within, hosts=policy.hosts, local_preference=preference)
    await put(node.routing.import_policies, neighbour.address, wanted, policy)


async def direct(one: Node, claim: str, other: Node, others: str, preference: int = 200) -> None:
    """Connect two leaves: each takes the other's own prefix only, and prefers it to what is reflected."""
    for here, there, theirs, passive in ((one, other, others, False), (other, one, claim, True)):
        policy = ImportPolicy(hosts=frozenset({host(theirs)}), local_preference=preference)
        await put(here.routing.import_policies, there.address, policy)
        session = Session(peer_asn=ASN, owner=OWNER, source=here.address, passive=passive, timers=FAST)
        await put(here.routing.sessions, there.address, session)


async def two_reflectors(nodes: Nodes, **more: object) -> tuple[Node, Node, Node, Node]:
    """Return two reflectors and two leaves of both of them, each with a prefix."""
    one, two, left, right = nodes(), nodes(), nodes(), nodes()
    for reflector in (one, two):
        await reflector.start(**more)
    for leaf, claim in ((left, A), (right, B)):
        await leaf.start()
        for reflector in (one, two):
            await reflector.serve(leaf, claim)
            await leaf.join(reflector)
        await leaf.announce(claim)
    return one, two, left, right


def via(*nodes: Node) -> set[str]:
    """Return the addresses of nodes."""
    return {str(node.address) for node in nodes}


@asynccontextmanager
async def never_without(node: Node, prefix: str) -> AsyncIterator[None]:
    """Fail when the node is without a best path for the prefix at any moment of the block."""
    missing: list[float] = []

    async def watch() -> None:
        while True:
            if prefix not in node.learned():
                missing.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.005)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert not missing, "a moment without the route"


async def kill(node: Node) -> None:
    os.kill(await node.pid(), signal.SIGKILL)


async def back(nodes: Nodes, node: Node, *leaves: tuple[Node, str], **more: object) -> Node:
    """Start a killed reflector's speaker again and replay its tables, as the loop does."""
    again = nodes(node)
    await again.start(**more)
    for leaf, claim in leaves:
        await again.serve(leaf, claim)
    return again


@pytest.mark.parametrize("cluster", [None, CLUSTER], ids=["a cluster ID each", "one cluster ID"])
async def test_two_reflectors_that_are_neighbours_share_the_load_and_one_is_enough(
    nodes: Nodes, cluster: IPv4Address | None
) -> None:
    one, two, left, right = await two_reflectors(nodes, cluster_id=cluster)
    await peering(one, two)
    await established((one, two), (left, one), (left, two), (right, one), (right, two))
    await until(lambda: left.learned() == {B: via(one, two)}, "both ways")
    # Of one cluster, a reflector ignores what the other one reflects (RFC 4456 section 8).
    received = 0 if cluster else 2
    await until_received(one, two, received)
    async with never_without(left, B):
        await kill(one)
        await until(lambda: left.learned() == {B: via(two)}, "the one that lives")
        again = await back(nodes, one, (left, A), (right, B), cluster_id=cluster)
        await until(lambda: left.learned() == {B: via(again, two)}, "both again", FAST.hold * 5)


async def until_received(node: Node, neighbour: Node, count: int) -> None:
    async with asyncio.timeout(10):
        while (await node.state(neighbour)).received != count:  # noqa: ASYNC110 - another process learns it
            await asyncio.sleep(0.02)


async def test_leaves_of_different_reflectors_reach_each_other_through_both(nodes: Nodes) -> None:
    """Two reflectors with a cluster each pass on what their own clients announce (RFC 4456 section 7)."""
    one, two, left, right = nodes(), nodes(), nodes(), nodes()
    for node in (one, two, left, right):
        await node.start()
    await peering(one, two)
    for reflector, leaf, claim in ((one, left, A), (two, right, B)):
        await reflector.serve(leaf, claim)
        await leaf.join(reflector)
        await leaf.announce(claim)
    await until(lambda: left.learned() == {B: via(one)} and right.learned() == {A: via(two)}, "reached")
    found = next(iter(left.last.routes))
    assert str(found.originator) == str(right.address)
    await right.withdraw(B)
    await until(lambda: left.learned() == {}, "withdrawn through both")


async def test_the_preferred_reflector_is_taken_alone_and_the_other_one_when_it_dies(nodes: Nodes) -> None:
    one, two, left, right = await two_reflectors(nodes)
    await prefer(left, two, 150)
    await until(lambda: left.learned() == {B: via(two)}, "preferred")
    async with never_without(left, B):
        await kill(two)
        await until(lambda: left.learned() == {B: via(one)}, "fall back", FAST.hold * 5)
        again = await back(nodes, two, (left, A), (right, B))
        await until(lambda: left.learned() == {B: via(again)}, "preferred again", FAST.hold * 5)


async def test_leaves_that_talk_to_each_other_prefer_it_and_fall_back(nodes: Nodes) -> None:
    rr, left, right = nodes(), nodes(), nodes()
    for node in (rr, left, right):
        await node.start()
    for leaf, claim in ((left, A), (right, B)):
        await rr.serve(leaf, claim)
        await leaf.join(rr)
        await leaf.announce(claim)
    await until(lambda: left.learned() == {B: via(rr)}, "reflected")
    async with never_without(left, B):
        await direct(left, A, right, B)
        await until(lambda: left.learned() == {B: via(right)}, "direct")
        await until(lambda: right.learned() == {A: via(left)}, "direct, the other way")
        # What a leaf learns from a leaf stays there: it is no reflector.
        assert (await rr.state(left)).received == 1
        session = (await right.routing.sessions.observe())[left.address]
        await put(right.routing.sessions, left.address, None, session)
        await until(lambda: left.learned() == {B: via(rr)}, "fallen back")


@pytest.mark.parametrize("withdrawn", [True, False], ids=["withdrawn", "session lost"])
async def test_a_better_path_takes_the_place_of_a_worse_one_and_gives_it_back(
    nodes: Nodes,
    withdrawn: bool,
) -> None:
    """The worse path is not withdrawn behind the better one, and nobody keeps a path that is gone.

    Two leaves announce the same prefix, as when an address moves from one site to another.
    """
    rr, old, new, watcher = nodes(), nodes(), nodes(), nodes()
    for node in (rr, old, new, watcher):
        await node.start()
    for leaf in (old, new):
        await rr.serve(leaf, A)
    await rr.serve(watcher, B)
    for leaf in (old, new, watcher):
        await leaf.join(rr)
    await established((old, rr), (new, rr), (watcher, rr))
    await old.announce(A, local_preference=100)
    await until(lambda: preferences(watcher) == [100] and preferences(new) == [100], "the old one")
    await new.announce(A, local_preference=200)
    await until(lambda: preferences(watcher) == [200] and preferences(old) == [200], "the new one")
    # The new one is the source of the best path now; what it was told before is taken back.
    await until(lambda: preferences(new) == [], "nothing of the old one at the new one")
    pid = await new.pid()
    if withdrawn:
        await new.withdraw(A)
    else:
        os.kill(pid, signal.SIGSTOP)  # killed, it would be expected back, its path kept
    try:
        await until(lambda: preferences(watcher) == [100], "the old one again", FAST.hold * 5)
        await until(lambda: preferences(old) == [], "nothing of the new one at the old one")
    finally:
        os.kill(pid, signal.SIGCONT)


def preferences(node: Node) -> list[int]:
    """Return the preferences of the paths of A that a node has from others."""
    return [route.local_preference for route in node.last.routes if str(route.prefix) == A]
