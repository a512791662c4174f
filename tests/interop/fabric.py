"""The topology of these tests: leaves that dial a reflector over links 10.255.<number>.0/31.

Our speakers sit in the first namespace. The side that made the link, ours or a reflecting engine's, has the
even address.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

import attrs
import pytest
from tests.interop.engine import Description, Engine, Neighbour, Origin

from routerd.model.session import TIMER_PROFILES, ImportPolicy, Session, SessionState
from routerd_bgp_ryu.testing.nodes import ASN, OWNER, Node, Nodes, alive, host, put, until

FAST = TIMER_PROFILES["fast"]
RR_ID = IPv4Address("10.99.0.1")
POOL = "10.88.0.0/16"
LONG_HOLD = 240
"""Seconds an engine asks for, so that the hold time of our session, the shorter one, is negotiated."""

POLL = 0.2
"""Seconds between questions to an engine, each of which starts its tool."""

PATIENCE = 300.0
"""Seconds for what depends on another engine's retries, on a machine however busy."""


def near(number: int) -> IPv4Address:
    """Return the even address of a link."""
    return IPv4Address(f"10.255.{number}.0")


def far(number: int) -> IPv4Address:
    """Return the odd address of a link."""
    return IPv4Address(f"10.255.{number}.1")


def leaf(number: int, *origins: Origin, asn: int = ASN, rr_asn: int = ASN, **more: Any) -> Description:
    """Describe a leaf at the odd end of a link, whose router ID is 10.99.0.<10 + number>."""
    up = Neighbour(address=near(number), local=far(number), asn=rr_asn, **{"hold": LONG_HOLD, **more})
    return Description(asn=asn, router_id=leaf_id(number), neighbours=(up,), origins=origins)


def leaf_id(number: int) -> IPv4Address:
    """Return the router ID of the leaf on a link."""
    return IPv4Address(f"10.99.0.{10 + number}")


def session(**more: Any) -> Session:
    """Return a session of ours with the fast timers of the product."""
    return Session(**{"peer_asn": ASN, "owner": OWNER, "timers": FAST, **more})


def served(**more: Any) -> Session:
    """Return a session for a leaf, as our reflector has it."""
    client = {"passive": True, "route_reflector_client": True, "next_hop_self": True}
    return session(**{**client, **more})


async def serve(rr: Node, number: int, *claimed: str, **more: Any) -> None:
    """Admit the leaf on a link to our reflector."""
    await admit(rr, number, *claimed)
    await put(rr.routing.sessions, far(number), served(**more))


async def admit(rr: Node, number: int, *claimed: str) -> None:
    """Set the prefixes of the leaf on a link."""
    await put(rr.routing.import_policies, far(number), ImportPolicy(hosts=frozenset(map(host, claimed))))


async def revoke(rr: Node, number: int) -> None:
    """Take session and prefixes of the leaf on a link away."""
    for table in (rr.routing.sessions, rr.routing.import_policies):
        await put(table, far(number), None, (await table.observe())[far(number)])


async def reflector(nodes: Nodes, claims: Mapping[int, str], **speaker: Any) -> Node:
    """Start our reflector, which admits a leaf with one prefix on each link."""
    rr = nodes()
    await rr.start(**{"listen": None, "port": 179, "router_id": RR_ID, **speaker})
    for number, claim in claims.items():
        await serve(rr, number, claim)
    return rr


async def our_leaf(nodes: Nodes, number: int, **more: Any) -> Node:
    """Start a leaf of ours at the even end of a link, with an engine as its reflector at the odd one."""
    node = nodes()
    # On its own address: two of ours sit in the same namespace.
    await node.start(listen=near(number), port=179, router_id=leaf_id(number))
    await put(node.routing.import_policies, far(number), ImportPolicy(within=frozenset({host(POOL)})))
    await put(node.routing.sessions, far(number), session(source=near(number), **more))
    return node


async def change(node: Node, number: int, **more: Any) -> None:
    """Change the session of a node of ours with whom is at the odd end of a link."""
    present = (await node.routing.sessions.observe())[far(number)]
    await put(node.routing.sessions, far(number), attrs.evolve(present, **more), present)


async def state(node: Node, number: int) -> SessionState:
    """Return how the session with whom is at the odd end of a link does."""
    return next(each for each in await node.routing.states() if each.neighbour == far(number))


async def until_routes(what: str, expected: Mapping[Engine, set[str]], deadline: float = PATIENCE) -> None:
    """Wait until engines can use exactly these prefixes of their neighbours."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline):
            while not all(engine.routes() == prefixes for engine, prefixes in expected.items()):  # noqa: ASYNC110 - other processes change it
                await asyncio.sleep(POLL)
            return
    found = "; ".join(f"{each.name} has {sorted(each.routes())}" for each in expected)
    said = "".join(f"\n--- {each.name}:\n{each.said()[-2000:]}" for each in expected)
    pytest.fail(f"not within {deadline:g} s: {what}; {found}{said}")


async def until_state(
    node: Node, number: int, holds: Callable[[SessionState], object], what: str, deadline: float = PATIENCE
) -> SessionState:
    """Wait until something holds of a session, and return its state then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline):
            while not holds(now := await state(node, number)):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
            return now
    pytest.fail(f"not within {deadline:g} s: {what}; the session: {await state(node, number)}")


async def dies(node: Node) -> None:
    """Kill the speaker of a node of ours, which cannot say goodbye."""
    pid = await node.pid()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not alive(pid), "the speaker is dead")
    await node.leave()
