"""N clients that announce M host routes each to one reflector and wait until each has all others'.

A process of its own, so that what it costs is not on the reflector's account.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from ipaddress import IPv4Address, IPv4Network

from routerd_bgp_ryu.testing.load import change, connect, exchange

ASN = 64577
ONE_CHANGE = 30.0
"""Seconds to wait for one withdrawal."""

FIRST_CLIENT = IPv4Address("10.1.0.1")
FIRST_PREFIX = IPv4Address("10.88.0.0")


def client_address(number: int) -> IPv4Address:
    """Return where the client with a number, from 0 on, dials from."""
    return FIRST_CLIENT + number


def prefixes(number: int, count: int) -> list[IPv4Network]:
    """Return what a client announces."""
    return [IPv4Network(FIRST_PREFIX + number * count + each) for each in range(count)]


async def run(server: str, port: int, clients: int, routes: int, deadline: float) -> dict[str, object]:
    """Return what was held after which time, of how much."""
    wanted = [(client_address(number), prefixes(number, routes)) for number in range(clients)]
    async with asyncio.timeout(deadline):
        made = await connect(IPv4Address(server), port, ASN, wanted)
    sys.stdout.write("established\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    took = await exchange(made, deadline)
    held = sum(len(client.held) for client in made)
    return {
        "seconds": took,
        "held": held,
        "change": await change(made, prefixes(0, routes)[0], ONE_CHANGE),
        "wanted": (clients - 1) * routes * clients,
        "updates": sum(client.updates for client in made),
        "ended": sorted({client.ended for client in made if client.ended}),
    }


def main() -> None:
    """Print `established`, wait for a line, then print the result as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("port", type=int)
    parser.add_argument("clients", type=int)
    parser.add_argument("routes", type=int)
    parser.add_argument("--deadline", type=float, default=240)
    words = parser.parse_args()
    found = asyncio.run(run(words.server, words.port, words.clients, words.routes, words.deadline))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
