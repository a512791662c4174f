"""Communities in import policies, between real speakers: what is kept, and what a daemon finds again."""

from __future__ import annotations

import os
import signal
from functools import partial

import attrs
import pytest

from routerd.model.bgp.import_policy import FORBIDDEN_COMMUNITY, MISSING_COMMUNITY
from routerd.model.session import ImportPolicy
from routerd_bgp_ryu.testing.nodes import Node, Nodes, host, put, until

A, B = "10.88.61.1/32", "10.88.61.2/32"
RED, GREEN = frozenset({"64512:100"}), frozenset({"64512:100", "64512:200"})

pytestmark = pytest.mark.live


async def pair(nodes: Nodes) -> tuple[Node, Node]:
    """Return a reflector and its leaf."""
    rr, leaf = nodes(), nodes()
    for node in (rr, leaf):
        await node.start()
    await rr.serve(leaf, A, B)
    await leaf.join(rr)
    return rr, leaf


async def ask(rr: Node, leaf: Node, **more: object) -> ImportPolicy:
    """Let a reflector ask a leaf's routes for communities."""
    policy = ImportPolicy(hosts=frozenset(map(host, (A, B))), **more)  # type: ignore[arg-type] # passed on
    await put(rr.routing.import_policies, leaf.address, policy)
    return policy


async def test_our_own_announcements_match_by_their_communities(nodes: Nodes) -> None:
    """Also those with a name, which are sent as numbers."""
    rr, leaf = await pair(nodes)
    await ask(rr, leaf, required_communities=RED, forbidden_communities={"no-export"})
    await leaf.announce(A, communities=RED)
    await leaf.announce(B, communities=RED | {"no-export"})
    await until(lambda: set(rr.learned()) == {A}, "what fits")
    await until(lambda: rr.rejected() == {B: FORBIDDEN_COMMUNITY}, "the reason")
    await leaf.announce(A)
    await leaf.announce(B, communities=GREEN)
    await until(lambda: set(rr.learned()) == {B}, "what fits now")
    await until(lambda: rr.rejected() == {A: MISSING_COMMUNITY}, "the reason now")


async def test_a_stale_route_is_judged_by_its_communities_too(nodes: Nodes) -> None:
    rr, leaf = await pair(nodes)
    await leaf.announce(A, communities=GREEN)
    await leaf.announce(B, communities=RED)
    await until(lambda: set(rr.learned()) == {A, B}, "announced")
    os.kill(await leaf.pid(), signal.SIGKILL)
    await until(lambda: [each.stale for each in rr.last.routes] == [True, True], "stale")
    for named, kept in (
        ({"required_communities": RED}, {A, B}),
        ({"required_communities": GREEN}, {A}),
        ({"forbidden_communities": GREEN - RED}, {B}),
        ({}, {A, B}),
    ):
        await ask(rr, leaf, **named)
        await until(partial(_holds, rr, kept), f"kept under {named}")
    assert all(each.stale for each in rr.last.routes)


async def test_a_restarted_daemon_finds_the_policy_as_it_was(nodes: Nodes) -> None:
    """So that it changes nothing, and what is refused stays refused meanwhile."""
    rr, leaf = await pair(nodes)
    policy = await ask(rr, leaf, required_communities=GREEN, forbidden_communities={"internet"})
    await leaf.announce(A, communities=RED)
    await until(lambda: rr.rejected() == {A: MISSING_COMMUNITY}, "refused")
    before = await rr.pid()
    await rr.leave()
    again = nodes(rr)
    await again.start()
    assert await again.pid() == before
    assert (await again.routing.import_policies.observe())[leaf.address] == policy
    await until(lambda: again.rejected() == {A: MISSING_COMMUNITY}, "refused still")
    relaxed = attrs.evolve(policy, required_communities=RED)
    await put(again.routing.import_policies, leaf.address, relaxed, policy)
    await until(lambda: set(again.learned()) == {A}, "what fits now")


def _holds(node: Node, prefixes: set[str]) -> bool:
    return set(node.learned()) == prefixes
