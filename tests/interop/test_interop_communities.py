"""Communities that other engines send, and what our reflector lets in by them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from tests.interop.engine import Engine, Origin
from tests.interop.fabric import far, leaf, near, reflector, until_routes, until_state

from routerd.model.bgp.import_policy import FORBIDDEN_COMMUNITY, MISSING_COMMUNITY
from routerd.model.session import ImportPolicy
from routerd_bgp_ryu.testing.nodes import Node, Nodes, host, put, until

pytestmark = pytest.mark.interop
Engines = Callable[[type[Engine], str], Engine]

A, B = "10.88.1.1/32", "10.88.2.1/32"
RED, GREEN, BLUE = "64512:100", "64512:200", "64512:300"


async def test_a_leaf_whose_routes_need_communities(
    inside: bool, kind: type[Engine], engines: Engines, nodes: Nodes
) -> None:
    if not inside:
        return
    a, b = engines(kind, "a"), engines(kind, "b")
    a.link(1)
    b.link(2)
    rr = await reflector(nodes, {1: A, 2: B})
    asks = ImportPolicy(
        hosts=frozenset({host(A)}), required_communities={RED, GREEN}, forbidden_communities={BLUE}
    )
    await put(rr.routing.import_policies, far(1), asks)
    a.start(leaf(1, Origin(prefix=A, communities=(RED,))))
    b.start(leaf(2, Origin(prefix=B)))
    await until_routes("one of two communities", {a: {B}, b: set()})
    await until(lambda: rr.rejected() == {A: MISSING_COMMUNITY}, "the reason")
    since = (await until_state(rr, 1, lambda each: each.established, "up")).since

    for communities, reason in (
        ((RED, GREEN), None),
        ((RED, GREEN, BLUE), FORBIDDEN_COMMUNITY),
        ((RED, GREEN, "64512:1"), None),
        ((), MISSING_COMMUNITY),
    ):
        # Withdrawn first: FRR 8.4's bgpd corrupts its heap, and at times dies of it, when the
        # route-map of a network that is announced is removed.
        a.withdraw(A)
        await until(lambda: A not in rr.learned() and A not in rr.rejected(), "withdrawn")
        a.announce(Origin(prefix=A, communities=communities))
        rejected = {A: reason} if reason else {}
        learned = {B} if reason else {A, B}
        await until(
            partial(_judged, rr, rejected, learned),
            f"judged with {communities}",
        )
        await until_routes(f"with {communities}", {b: set() if reason else {A}})
    await put(rr.routing.import_policies, far(1), ImportPolicy(hosts=frozenset({host(A)})), asks)
    await until_routes("nothing is asked for", {a: {B}, b: {A}})
    await put(rr.routing.import_policies, far(1), asks)
    await until_routes("asked for again", {a: {B}, b: set()})
    a.withdraw(A)
    await until(lambda: rr.rejected() == {}, "not said any more")
    assert (await until_state(rr, 1, lambda each: each.established, "up")).since == since
    assert a.notification(str(near(1))) is None, "the session was left alone all the time"


def _judged(rr: Node, rejected: dict[str, str], learned: set[str]) -> bool:
    return rr.rejected() == rejected and set(rr.learned()) == learned
