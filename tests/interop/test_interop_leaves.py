"""Each engine as two leaves below our route reflector: what is reflected, what is refused, what is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.interop.engine import Description, Engine, Origin, Path
from tests.interop.fabric import (
    PATIENCE,
    RR_ID,
    admit,
    change,
    far,
    leaf,
    leaf_id,
    near,
    reflector,
    revoke,
    serve,
    until_routes,
    until_state,
)
from tests.interop.sandbox import kernel_has_md5, md5_failures

from routerd.model.bgp.import_policy import NOT_A_HOST, NOT_OWNED
from routerd.model.session import TIMER_PROFILES
from routerd_bgp_ryu.testing.nodes import ASN, Nodes, until

pytestmark = pytest.mark.interop
Engines = Callable[[type[Engine], str], Engine]

A, B = "10.88.1.1/32", "10.88.2.1/32"
FOREIGN, AGGREGATE, DEFAULT = "10.88.3.1/32", "10.88.0.0/16", "0.0.0.0/0"
UP = str(near(1)), str(near(2))
REVOKED = 5.0
"""Seconds to withdraw what a revoked claim had; one, and a busy machine."""


async def test_leaves_below_our_reflector(
    inside: bool, kind: type[Engine], engines: Engines, nodes: Nodes
) -> None:
    if not inside:
        return
    a, b = engines(kind, "a"), engines(kind, "b")
    a.link(1)
    b.link(2)
    rr = await reflector(nodes, {1: A, 2: B})
    said = Origin(prefix=A, communities=("64512:100", "64512:200"), local_preference=200)
    a.start(leaf(1, said))
    b.start(leaf(2, *(Origin(prefix=each) for each in (B, FOREIGN, AGGREGATE, DEFAULT))))

    await until_routes("reflected, and usable", {a: {B}, b: {A}})
    assert b.path(A, UP[1]) == Path(
        next_hop=UP[1],
        local_preference=200,
        communities=("64512:100", "64512:200"),
        originator=str(leaf_id(1)),
        clusters=(str(RR_ID),),
    )
    seen = a.path(B, UP[0])
    assert seen is not None
    assert (seen.next_hop, seen.local_preference, seen.clusters) == (UP[0], 100, (str(RR_ID),))
    # Of the reflector itself, what it took from whom.
    expected = {FOREIGN: NOT_OWNED, AGGREGATE: NOT_A_HOST, DEFAULT: NOT_A_HOST}
    await until(lambda: rr.rejected() == expected, "the reasons")
    now = await until_state(rr, 2, lambda each: each.received == 4, "counted")
    assert (now.accepted, dict(now.rejected)) == (1, {NOT_OWNED: 1, NOT_A_HOST: 2})
    assert (now.advertised, now.remote_router_id) == (1, leaf_id(2))
    await until(lambda: rr.learned() == {A: {"10.255.1.1"}, B: {"10.255.2.1"}}, "known here")

    a.withdraw(A)
    await until_routes("withdrawn", {b: set()})
    assert a.routes() == {B}
    a.announce(Origin(prefix=A))
    await until_routes("announced again", {b: {A}})
    assert (path := b.path(A, UP[1])) is not None
    assert (path.communities, path.local_preference) == ((), 100)
    b.announce(Origin(prefix=A))
    await until(lambda: rr.rejected() == {**expected, A: NOT_OWNED}, "the other leaf's address is refused")
    assert rr.learned() == {A: {"10.255.1.1"}, B: {"10.255.2.1"}}
    assert a.path(A, UP[0]) is None, "never back to its originator"
    b.withdraw(A)
    await until(lambda: rr.rejected() == expected, "not said any more")

    a.disable(UP[0])
    await until_routes("gone with the session", {b: set()})
    told = await until_state(rr, 1, lambda each: not each.established, "shut down")
    assert told.last_error == "received administrative shutdown (6/2)"
    await until(lambda: A not in rr.learned(), "gone here too")
    a.enable(UP[0])
    await until_routes("back", {a: {B}, b: {A}})
    if kind.resets:
        since = (await until_state(rr, 1, lambda each: each.established, "established again")).since
        a.reset(UP[0])
        await until_state(rr, 1, lambda each: each.established and each.since != since, "reset, and back")
        await until_routes("back after the reset", {a: {B}, b: {A}})

    # The claim of the second grows, shrinks, and is revoked.
    since = (await until_state(rr, 2, lambda each: each.established, "up")).since
    await admit(rr, 2, B, FOREIGN)
    await until_routes("a claim that grew", {a: {B, FOREIGN}})
    await admit(rr, 2, B)
    await until_routes("a claim that shrank", {a: {B}})
    assert (await until_state(rr, 2, lambda each: each.established, "up")).since == since
    assert b.notification(UP[1]) is None, "the second's session was left alone all the time"
    await revoke(rr, 2)
    await until_routes("a claim that was revoked", {a: set(), b: set()}, REVOKED)
    assert not b.established(UP[1])
    assert b.notification(UP[1]) == (6, 3), "de-configured"


async def test_another_router_id_as_or_password_is_refused_and_told_and_timers_are_ours(
    inside: bool, kind: type[Engine], engines: Engines, nodes: Nodes
) -> None:
    """Three sessions of one engine: each is refused for a reason of its own, and has timers of its own."""
    if not inside:
        return
    a = engines(kind, "a")
    claims = {1: A, 2: B, 3: FOREIGN}
    for number in claims:
        a.link(number)
    rr = await reflector(nodes, claims)
    secret = "secret" if kernel_has_md5() else None
    wrong: dict[int, dict[str, Any]] = {
        1: {"peer_router_id": leaf_id(9), "timers": TIMER_PROFILES["fast"]},
        2: {"peer_asn": 64999, "timers": TIMER_PROFILES["default"]},
        3: {"password": secret and "another", "timers": TIMER_PROFILES["slow"]},
    }
    for number, values in wrong.items():
        await change(rr, number, **values)
    ups = (*leaf(1).neighbours, *leaf(2).neighbours, *leaf(3, password=secret).neighbours)
    origins = tuple(Origin(prefix=each) for each in claims.values())
    a.start(Description(asn=ASN, router_id=leaf_id(1), neighbours=ups, origins=origins))

    told = await until_state(rr, 1, lambda each: "router ID" in each.last_error, "told of the router ID")
    assert told.remote_router_id == leaf_id(1)
    assert told.last_error.startswith(f"sent bad BGP identifier (2/3): expected router ID {leaf_id(9)}")
    told = await until_state(rr, 2, lambda each: "AS 64999" in each.last_error, "told of the AS number")
    assert told.last_error.startswith("sent bad peer AS (2/2): expected AS 64999")
    if kind.tells_refusals:
        await until(lambda: a.notification(UP[0]) == (2, 3), "its router ID is refused", PATIENCE)
        await until(lambda: a.notification(UP[1]) == (2, 2), "its AS number is refused", PATIENCE)
    if secret:
        await until(lambda: md5_failures() > 0, "the kernel refuses the wrong password", PATIENCE)
    assert rr.last.routes == ()
    assert not any(
        each.established for each in await rr.routing.states() if secret or each.neighbour != far(3)
    )

    await change(rr, 1, peer_router_id=leaf_id(1))
    await change(rr, 2, peer_asn=ASN)
    await change(rr, 3, password=secret)
    expected = {claim: {str(far(number))} for number, claim in claims.items()}
    await until(lambda: rr.learned() == expected, "expected, and let in", PATIENCE)
    assert [each.last_error for each in await rr.routing.states()] == ["", "", ""]
    assert [a.hold_time(str(near(number))) for number in claims] == [9, 90, 180]
    # What is changed for one session resets that one and no other.
    before = {number: (await until_state(rr, number, lambda _: True, "a state")).since for number in (2, 3)}
    await change(rr, 1, timers=TIMER_PROFILES["slow"])
    await until(lambda: a.notification(UP[0]) == (6, 6), "told that the configuration has changed")
    for number, since in before.items():
        now = await until_state(rr, number, lambda _: True, "a state")
        assert now.established
        assert now.since == since
    if not secret:
        pytest.skip("all but the password held; this kernel has no TCP MD5")


async def test_as_numbers_of_four_octets_inside_and_outside(
    inside: bool, kind: type[Engine], engines: Engines, nodes: Nodes
) -> None:
    """The reflector and a leaf in an AS above 65535, another leaf in a second one (RFC 6793)."""
    if not inside:
        return
    own, other = 4200000001, 4200000077
    a, b = engines(kind, "a"), engines(kind, "b")
    a.link(1)
    b.link(2)
    rr = await reflector(nodes, {}, asn=own)
    for number, asn, claim in ((1, own, A), (2, other, B)):
        await serve(rr, number, claim, peer_asn=asn, route_reflector_client=asn == own)
    a.start(leaf(1, Origin(prefix=A, local_preference=200), asn=own, rr_asn=own))
    b.start(leaf(2, Origin(prefix=B), asn=other, rr_asn=own))
    await until_routes("both ways", {a: {B}, b: {A}})
    inner, outer = a.path(B, UP[0]), b.path(A, UP[1])
    assert inner is not None
    assert outer is not None
    assert (inner.as_path, inner.next_hop) == ((other,), UP[0])
    assert (outer.as_path, outer.next_hop) == ((own,), UP[1])
    # RFC 4271 section 5.1.5 and RFC 4456 section 8: none of these leaves the AS.
    assert outer.local_preference in (None, 100)
    assert (outer.originator, outer.clusters) == (None, ())
    assert (await until_state(rr, 2, lambda each: each.established, "up")).remote_asn == other
    await until(lambda: {route.as_path for route in rr.last.routes} == {(), (other,)}, "known here")
