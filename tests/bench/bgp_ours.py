"""A route reflector of ours for the benchmark: the plugin's provider and its speaker's process."""

from __future__ import annotations

import asyncio
import sys
from ipaddress import IPv4Address
from pathlib import Path

from tests.bench.bgp_clients import ASN, client_address, prefixes

from routerd.model.change import Change
from routerd.model.session import ImportPolicy, Session, Speaker, Timers
from routerd.testing.context import make_context
from routerd_bgp_ryu.config import BgpOptions
from routerd_bgp_ryu.routing import BgpRouting

OWNER = "BGPRouter/bench"
TIMERS = Timers(connect_retry=5, hold=90, keepalive=30)


async def serve(directory: Path, address: str, port: int, clients: int, routes: int) -> None:
    """Admit every client's host routes and no others; print the pid of the speaker."""
    routing = BgpRouting(make_context(directory), BgpOptions())
    await routing.start()
    here = IPv4Address(address)
    speaker = Speaker(asn=ASN, router_id=here, owner=OWNER, port=port, listen=here)
    await _fill(routing.speakers, {"bench": speaker})
    numbers = range(clients)
    await _fill(
        routing.import_policies,
        {
            client_address(number): ImportPolicy(hosts=frozenset(prefixes(number, routes)))
            for number in numbers
        },
    )
    session = Session(peer_asn=ASN, owner=OWNER, timers=TIMERS, passive=True, route_reflector_client=True)
    await _fill(routing.sessions, {client_address(number): session for number in numbers})
    hello = await routing._link.ask("hello")  # the benchmark measures that process
    assert isinstance(hello, dict)
    sys.stdout.write(f"{hello['pid']}\n")
    sys.stdout.flush()
    async for learned in routing.learned():
        del learned  # a daemon would derive kernel routes from it


async def _fill(table: object, values: dict[object, object]) -> None:
    changes = [Change(key=key, before=None, after=value) for key, value in values.items()]
    failures = await table.apply(changes)
    assert not failures, failures


if __name__ == "__main__":
    directory, address, port, clients, routes = sys.argv[1:]
    asyncio.run(serve(Path(directory), address, int(port), int(clients), int(routes)))
