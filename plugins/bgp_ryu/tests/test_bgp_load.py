"""Many clients that announce everything at once: each gets all of it, and nobody is reset."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv4Network

import pytest

from routerd.model.change import Change
from routerd.model.session import ImportPolicy, Session, Timers
from routerd_bgp_ryu.testing.load import connect, exchange
from routerd_bgp_ryu.testing.nodes import ASN, OWNER, PORT, Node, Nodes

ROUTES = 20
DEADLINE = 60.0
SESSION = Session(
    peer_asn=ASN,
    owner=OWNER,
    passive=True,
    route_reflector_client=True,
    timers=Timers(connect_retry=5, hold=90, keepalive=30),
)


def routes(number: int) -> list[IPv4Network]:
    return [IPv4Network(IPv4Address("10.88.0.0") + number * ROUTES + each) for each in range(ROUTES)]


async def admit(rr: Node, clients: list[tuple[IPv4Address, list[IPv4Network]]]) -> None:
    policies = [
        Change(key=address, before=None, after=ImportPolicy(hosts=frozenset(mine)))
        for address, mine in clients
    ]
    sessions = [Change(key=address, before=None, after=SESSION) for address, _ in clients]
    assert not await rr.routing.import_policies.apply(policies)
    assert not await rr.routing.sessions.apply(sessions)


@pytest.mark.live
@pytest.mark.timeout(120)
@pytest.mark.parametrize("count", [50, 200])
async def test_every_client_holds_every_other_ones_routes(nodes: Nodes, count: int) -> None:
    rr = nodes()
    await rr.start()
    clients = [(rr.address + 1 + number, routes(number)) for number in range(count)]
    await admit(rr, clients)
    async with asyncio.timeout(DEADLINE):
        made = await connect(rr.address, PORT, ASN, clients)
    await exchange(made, DEADLINE)
    assert [client.ended for client in made if client.ended] == []
    everything = {prefix for _, mine in clients for prefix in mine}
    for client, (_, mine) in zip(made, clients, strict=True):
        assert len(client.held) == len(everything) - len(mine)
    # Each client's routes have attributes of their own, so that they are a message for each other one;
    # those of a client that came in pieces are a few.
    assert sum(client.updates for client in made) < 3 * count * count
    async with asyncio.timeout(DEADLINE):
        while len(rr.last.routes) != len(everything):  # noqa: ASYNC110 - another process tells
            await asyncio.sleep(0.02)
    states = await rr.routing.states()
    assert {state.advertised for state in states} == {len(everything) - ROUTES}
    for client in made:
        client.close()
