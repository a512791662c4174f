"""Each engine as route reflector over two leaves of ours and one of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.interop.engine import Description, Engine, Neighbour, Origin, Path
from tests.interop.fabric import (
    LONG_HOLD,
    PATIENCE,
    RR_ID,
    dies,
    far,
    leaf,
    leaf_id,
    near,
    our_leaf,
    until_routes,
    until_state,
)

from routerd.model.bgp.import_policy import OUTSIDE
from routerd_bgp_ryu.testing.nodes import ASN, Nodes, until

pytestmark = pytest.mark.interop
Engines = Callable[[type[Engine], str], Engine]

A, B, C = "10.88.1.1/32", "10.88.2.1/32", "10.88.3.1/32"
AGGREGATE, DEFAULT = "10.88.0.0/16", "0.0.0.0/0"
OURS, SECOND, UP = str(near(1)), str(near(2)), str(near(3))


def clients() -> Description:
    """Describe the reflector: ours dial from the even ends of links 1 and 2, its own leaf is on link 3."""
    ends = ((near(1), far(1)), (near(2), far(2)), (far(3), near(3)))
    return Description(
        asn=ASN,
        router_id=RR_ID,
        neighbours=tuple(
            Neighbour(address=there, local=here, asn=ASN, hold=LONG_HOLD, passive=True, client=True)
            for there, here in ends
        ),
    )


async def test_our_leaves_and_its_own_below_its_reflector(
    inside: bool, kind: type[Engine], engines: Engines, nodes: Nodes
) -> None:
    if not inside:
        return
    rr, own = engines(kind, "r"), engines(kind, "l")
    rr.link(1)
    rr.link(2)
    own.link(3, other=rr)
    rr.start(clients())
    own.start(leaf(3, *(Origin(prefix=each) for each in (C, AGGREGATE, DEFAULT))))
    one, two = await our_leaf(nodes, 1), await our_leaf(nodes, 2)
    communities = frozenset({"64512:100", "64512:200"})
    await one.announce(A, communities=communities, local_preference=200)
    await two.announce(B)
    via_one, via_two = {str(far(1))}, {str(far(2))}
    reach_one, reach_two = {B: via_one, C: via_one}, {A: via_two, C: via_two}

    async def everybody_reaches_everybody(what: str) -> None:
        await until_routes(what, {own: {A, B}})
        await until(lambda: one.learned() == reach_one, f"{what}: the first of ours", PATIENCE)
        await until(lambda: two.learned() == reach_two, f"{what}: the second of ours", PATIENCE)

    await everybody_reaches_everybody("reflected")
    await until(lambda: one.last.heard == {far(1)} and two.last.heard == {far(2)}, "it said End-of-RIB")
    # What it took from us, and what it made of it.
    sent = rr.path(A, OURS)
    assert sent is not None
    assert (sent.next_hop, sent.local_preference, sent.originator) == (OURS, 200, None)
    assert own.path(A, UP) == Path(
        next_hop=UP,
        local_preference=200,
        communities=("64512:100", "64512:200"),
        originator=str(leaf_id(1)),
        clusters=(str(RR_ID),),
    )
    at_two = next(route for route in two.last.routes if str(route.prefix) == A)
    assert (at_two.communities, at_two.local_preference, at_two.originator) == (communities, 200, leaf_id(1))
    assert {str(route.prefix): route.originator for route in one.last.routes} == {
        B: leaf_id(2),
        C: leaf_id(3),
    }
    # Our leaf takes hosts of the pool, not what a reflector of another make lets through.
    await until(lambda: one.rejected() == {AGGREGATE: OUTSIDE, DEFAULT: OUTSIDE}, "the reasons")
    now = await until_state(one, 1, lambda each: each.received == 4, "counted")
    assert (now.accepted, dict(now.rejected), now.advertised) == (2, {OUTSIDE: 2}, 1)
    assert now.remote_router_id == RR_ID
    assert (rr.hold_time(OURS), own.hold_time(UP)) == (9, LONG_HOLD)

    await one.withdraw(A)
    await until_routes("withdrawn by us", {own: {B}})
    await until(lambda: two.learned() == {C: via_two}, "withdrawn by us")
    own.withdraw(C)
    await until(lambda: one.learned() == {B: via_one} and two.learned() == {}, "withdrawn by its own leaf")
    await one.announce(A)
    own.announce(Origin(prefix=C))
    await everybody_reaches_everybody("announced again")

    rr.disable(OURS)
    told = await until_state(one, 1, lambda each: not each.established, "shut down")
    assert told.last_error == "received administrative shutdown (6/2)"
    await until(lambda: one.learned() == {} and two.learned() == {C: via_two}, "gone with the session")
    await until_routes("gone with the session", {own: {B}})
    assert (await until_state(two, 2, lambda _: True, "a state")).established
    rr.enable(OURS)
    await everybody_reaches_everybody("enabled")

    rr.kill()
    await until(lambda: {route.stale for route in one.last.routes} == {True}, "kept, as stale")
    assert one.learned() == reach_one
    assert (await until_state(one, 1, lambda each: not each.established, "lost")).last_error != ""
    rr.restart()
    await everybody_reaches_everybody("the reflector is back")
    await until(lambda: one.last.heard == {far(1)}, "it said End-of-RIB again", PATIENCE)
    await until(
        lambda: not any(route.stale for route in (*one.last.routes, *two.last.routes)), "fresh", PATIENCE
    )

    # A leaf of ours whose speaker has died says that it comes back, and what it still has when it is.
    await dies(one)
    await until(lambda: not rr.established(OURS), "the reflector has noticed")
    await until_routes("kept by who knows that the leaf comes back", {own: {A, B} if rr.helps else {B}})
    one = await our_leaf(nodes, 1)
    await until_routes("what the leaf has no more goes when it has said everything", {own: {B}})
    await one.announce(A)
    await everybody_reaches_everybody("the leaf is back")
