"""All engines in one fabric: what takes its time (dead speakers, dead links) is waited for once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from tests.interop.engine import Description, Engine, Neighbour, Origin
from tests.interop.fabric import (
    FAST,
    LONG_HOLD,
    PATIENCE,
    POOL,
    RR_ID,
    dies,
    far,
    leaf,
    leaf_id,
    near,
    reflector,
    session,
    until_routes,
    until_state,
)
from tests.interop.sandbox import silence, speak

from routerd.model.session import ImportPolicy
from routerd_bgp_ryu.testing.nodes import ASN, Nodes, host, put, until

pytestmark = pytest.mark.interop
Engines = Callable[[type[Engine], str], Engine]

CLAIMS = {1: "10.88.1.1/32", 2: "10.88.2.1/32", 3: "10.88.3.1/32"}
SHARED = "10.88.9.1/32"
NOTICED = FAST.hold + 10.0
"""Seconds to notice that nothing is heard any more: the hold time, and a busy machine."""


async def test_leaves_of_all_makes_outlive_our_reflector_and_notice_a_dead_link(
    inside: bool, kinds: tuple[type[Engine], ...], engines: Engines, nodes: Nodes
) -> None:
    if not inside:
        return
    leaves = {number: engines(kind, f"l{number}") for number, kind in enumerate(kinds, 1)}
    for number, engine in leaves.items():
        engine.link(number)
    rr = await reflector(nodes, CLAIMS)
    for number, engine in leaves.items():
        engine.start(leaf(number, Origin(prefix=CLAIMS[number])))
    others = {engine: set(CLAIMS.values()) - {CLAIMS[number]} for number, engine in leaves.items()}
    nothing: dict[Engine, set[str]] = {engine: set() for engine in leaves.values()}
    await until_routes("each make has the routes of the two others", others)

    await dies(rr)
    await until_routes("gone with the reflector", nothing)
    rr = await reflector(nodes, CLAIMS)
    await until_routes("the reflector is back", others)

    silence(*(engine.name for engine in leaves.values()))
    for number, engine in leaves.items():
        lost = await until_state(rr, number, lambda each: not each.established, "nothing heard", NOTICED)
        assert lost.last_error == "sent hold timer expired (4/0)", engine.name
    await until_routes("nothing heard by the leaves either", nothing, NOTICED)
    # Silence is no goodbye: the reflector goes on with what it knew.
    await until(lambda: {route.stale for route in rr.last.routes} == {True}, "kept, as stale")
    assert set(rr.learned()) == set(CLAIMS.values())


async def test_our_leaf_below_reflectors_of_all_makes_shares_over_who_is_alive(
    inside: bool, kinds: tuple[type[Engine], ...], engines: Engines, nodes: Nodes
) -> None:
    """Each reflector has our leaf on link n and a BIRD leaf on link 3 + n."""
    if not inside:
        return
    count = len(kinds)
    reflectors = {number: engines(kind, f"r{number}") for number, kind in enumerate(kinds, 1)}
    below = engines(kinds[0], "l")
    for number, engine in reflectors.items():
        engine.link(number)
        below.link(count + number, other=engine)
        engine.start(_serving(number, count + number))
    ups = tuple(up for number in reflectors for up in leaf(count + number).neighbours)
    below.start(Description(asn=ASN, router_id=leaf_id(7), neighbours=ups, origins=(Origin(prefix=SHARED),)))
    ours = nodes()
    await ours.start(listen=None, port=179, router_id=leaf_id(8))
    for number in reflectors:
        await put(ours.routing.import_policies, far(number), ImportPolicy(within=frozenset({host(POOL)})))
        await put(ours.routing.sessions, far(number), session(source=near(number)))
    await ours.announce(CLAIMS[1])
    ways = {number: str(far(number)) for number in reflectors}

    def shares(*numbers: int) -> bool:
        return ours.learned() == {SHARED: {ways[number] for number in numbers}}

    await until(lambda: shares(*reflectors), "all reflectors at once", PATIENCE)
    for number, engine in reflectors.items():
        engine.kill()
        left = reflectors.keys() - {number}
        await until(partial(shares, *left), f"without {kinds[number - 1].__name__}")
        assert not any(route.stale for route in ours.last.routes)
        engine.restart()
        await until(lambda: shares(*reflectors), f"{kinds[number - 1].__name__} is back", PATIENCE)
    await until_routes("ours, at the other leaf", {below: {CLAIMS[1]}})

    silence(*(engine.name for engine in reflectors.values()))
    for number in reflectors:
        lost = await until_state(ours, number, lambda each: not each.established, "nothing heard", NOTICED)
        assert lost.last_error == "sent hold timer expired (4/0)", kinds[number - 1].__name__
    for number, engine in reflectors.items():
        hears_nothing = partial(_hears_nothing, engine, str(near(number)))
        await until(hears_nothing, f"{kinds[number - 1].__name__} hears nothing either", NOTICED)
    await until(lambda: {route.stale for route in ours.last.routes} == {True}, "kept, as stale")
    assert shares(*reflectors)
    speak(*(engine.name for engine in reflectors.values()))
    await until(
        lambda: shares(*reflectors) and not any(route.stale for route in ours.last.routes), "heard", PATIENCE
    )


def _hears_nothing(engine: Engine, neighbour: str) -> bool:
    return engine.notification(neighbour) == (4, 0)


def _serving(ours: int, other: int) -> Description:
    ends = ((near(ours), far(ours)), (far(other), near(other)))
    return Description(
        asn=ASN,
        router_id=RR_ID + ours,
        neighbours=tuple(
            Neighbour(address=there, local=here, asn=ASN, hold=LONG_HOLD, passive=True, client=True)
            for there, here in ends
        ),
    )
