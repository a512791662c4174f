"""From what neighbours announce to the kernel's routes, with a real daemon and its speaker. Not collected:
`test_learned_routes.py` runs it inside a user namespace of its own.

The daemon is in the network namespace `router`; the neighbours, whose every word is the test's, are here.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
import pytest
from tests.netns import daemon_world
from tests.netns.daemon_world import CONFIG, LOG, ROUTERD, SOCKET, sh
from tests.support.waiting import until_async

from routerd.testing.bgp import Conversation, Notification, Open, Update, establish, path_attributes

ASN = 64577
HERE = "10.9.{link}.1"
POOL = IPv4Network("10.88.0.0/16")
FLAPPING = 1000
"""Prefixes that come or go in a second."""

FLAP_SECONDS = 60
GROWTH = 1.25
"""How much more memory than early in the flap may be resident at its end."""

BGP = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPRouter
      metadata: {name: fabric}
      spec: {asn: 64577, routerID: 10.9.1.1}
"""
PEER = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPPeer
      metadata: {name: peers}
      spec:
        routerRef: BGPRouter/fabric
        peerASN: 64577
        peers: [%s]
        passiveMode: true
        importPolicy:
          allowedPrefixes: [10.88.0.0/16]
          allowedPrefixLengthMin: 32
          allowedPrefixLengthMax: 32
"""

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module", autouse=True)
def world() -> None:
    for place in ("/run", "/var/lib"):
        sh(f"mount -t tmpfs tmpfs {place}")
    ROUTERD[:0] = ["ip", "netns", "exec", "router"]


@pytest.fixture(autouse=True)
def links(world: None) -> Iterator[None]:
    """Make the router's namespace, with two links to ours."""
    sh("ip link set lo up; ip netns add router; ip -n router link set lo up")
    for number in (1, 2):
        sh(f"ip link add p{number} type veth peer name r{number} netns router")
        sh(f"ip addr add 10.9.{number}.2/24 dev p{number}; ip link set p{number} up")
        sh(f"ip -n router addr add 10.9.{number}.1/24 dev r{number}; ip -n router link set r{number} up")
    yield
    for number in (1, 2):
        sh(f"ip link del p{number} 2>/dev/null; true")  # a namespace lets go of its links when it likes
    # Its speaker outlives the daemon.
    sh("ip netns pids router | xargs -r kill -9; ip netns del router; rm -rf /run/routerd /var/lib/routerd")


@attrs.define
class Router:
    """The daemon with its speaker, as its commands and the kernel show it."""

    process: subprocess.Popen[bytes]

    async def until(self, holds: Callable[[], object], what: str) -> None:
        await until_async(holds, what, more=lambda: LOG.read_text()[-4000:])

    def routes(self) -> dict[str, set[str]]:
        """Return the next hops of our routes in the kernel, by prefix."""
        found: dict[str, set[str]] = {}
        for route in json.loads(sh("ip -n router -j route show proto 147")):
            hops = route.get("nexthops") or [route]
            found[f"{route['dst']}/32"] = {
                hop["gateway"] for hop in hops if "dead" not in hop.get("flags", [])
            }
        return found

    def ask(self, *words: str) -> str:
        return daemon_world.routerd(*words).stdout

    def resident(self) -> dict[str, int]:
        """Return resident memory in kB of the daemon and of its speaker."""
        found: dict[str, int] = {}
        for pid in sh("ip netns pids router").split():
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            name = "speaker" if b"routerd_bgp_ryu.child" in command else "daemon"
            sizes = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            found[name] = int(sizes[0])
        return found


def _started() -> subprocess.Popen[bytes]:
    with LOG.open("wb") as log:
        return subprocess.Popen(
            [*ROUTERD, "--config", str(CONFIG)], stderr=log, stdout=log, stdin=subprocess.DEVNULL
        )


@asynccontextmanager
async def router(*neighbours: str) -> AsyncIterator[Router]:
    daemon_world.write(BGP, PEER % ", ".join(neighbours), plugins="bgp_ryu")
    made = Router(_started())
    try:
        await made.until(SOCKET.exists, "started")
        yield made
    finally:
        made.process.send_signal(signal.SIGTERM)
        made.process.wait(300)


async def neighbour(address: str, router_address: str | None = None) -> Conversation:
    source = IPv4Address(address)
    there = router_address or HERE.format(link=address.split(".")[2])
    return await establish(source, IPv4Address(there), 179, Open.of(ASN, source), deadline=30)


def hosts(first: str, count: int = 1) -> list[IPv4Network]:
    return [IPv4Network(IPv4Address(first) + number) for number in range(count)]


async def announce(talk: Conversation, address: str, prefixes: Iterable[IPv4Network]) -> None:
    attributes = path_attributes(IPv4Address(address))
    waiting = list(prefixes)
    while waiting:
        await talk.send(Update(attributes=attributes, reach=tuple(waiting[:500])))
        del waiting[:500]


async def withdraw(talk: Conversation, prefixes: Iterable[IPv4Network]) -> None:
    waiting = list(prefixes)
    while waiting:
        await talk.send(Update(withdrawn=tuple(waiting[:500])))
        del waiting[:500]


async def test_only_what_is_permitted_enters_and_the_rest_is_told() -> None:
    async with router("10.9.1.2") as made:
        talk = await neighbour("10.9.1.2")
        good = hosts("10.88.1.1", 2)
        bad = [
            *map(IPv4Network, ("0.0.0.0/0", "10.88.0.0/16", "10.88.2.0/31", "10.9.1.1/32", "192.0.2.1/32"))
        ]
        await announce(talk, "10.9.1.2", [*good, *bad])
        await made.until(lambda: made.routes() == {str(each): {"10.9.1.2"} for each in good}, "two routes")
        told = made.ask("routes", "--rejected")
        for prefix in bad:
            assert str(prefix) in told, told
        shown = made.ask("peers", "-v")
        assert "7 received" in shown or re.search(r"\b7\b.*\b2\b.*\b5\b", shown, re.DOTALL), shown
        await talk.aclose()


async def test_a_next_hop_that_is_on_no_link_is_told_and_not_installed() -> None:
    """A neighbour behind another router is not a next hop; the routes of others do not wait for it."""
    sh("ip addr add 10.9.99.5/32 dev lo; ip -n router route add 10.9.99.0/24 via 10.9.2.2")
    async with router("10.9.1.2", "10.9.99.5") as made:
        near, far = await neighbour("10.9.1.2"), await neighbour("10.9.99.5", "10.9.2.1")
        await announce(far, "10.9.99.5", hosts("10.88.1.1"))
        await announce(near, "10.9.1.2", hosts("10.88.1.2"))
        await made.until(lambda: made.routes() == {"10.88.1.2/32": {"10.9.1.2"}}, "the one that serves")
        words = "route 10.88.1.1/32: next hop 10.9.99.5 is not reachable"
        await made.until(lambda: words in made.ask("status"), words)
        for talk in (near, far):
            await talk.aclose()
    sh("ip addr del 10.9.99.5/32 dev lo")


async def test_a_prefix_has_sixteen_next_hops_and_no_more() -> None:
    addresses = [f"10.9.1.{number}" for number in range(11, 28)]
    for address in addresses:
        sh(f"ip addr add {address}/24 dev p1")
    async with router(*addresses) as made:
        talks = {address: await neighbour(address) for address in addresses}
        prefix = hosts("10.88.1.1")
        for address, talk in talks.items():
            await announce(talk, address, prefix)
        first = set(addresses[:16])
        await made.until(lambda: made.routes() == {"10.88.1.1/32": first}, "sixteen next hops")
        await withdraw(talks[addresses[0]], prefix)
        rest = set(addresses[1:])
        await made.until(lambda: made.routes() == {"10.88.1.1/32": rest}, "the seventeenth instead")
        for address in addresses[2:]:
            await withdraw(talks[address], prefix)
        await made.until(lambda: made.routes() == {"10.88.1.1/32": {addresses[1]}}, "one")
        for talk in talks.values():
            await talk.aclose()


async def test_a_next_hop_that_vanishes_takes_only_its_routes() -> None:
    async with router("10.9.1.2", "10.9.2.2") as made:
        one, two = [await neighbour(address) for address in ("10.9.1.2", "10.9.2.2")]
        shared, mine, yours = hosts("10.88.0.1"), hosts("10.88.1.1", 3), hosts("10.88.2.1", 3)
        await announce(one, "10.9.1.2", [*shared, *mine])
        await announce(two, "10.9.2.2", [*shared, *yours])
        both = {"10.88.0.1/32": {"10.9.1.2", "10.9.2.2"}}
        first = {str(each): {"10.9.1.2"} for each in mine}
        second = {str(each): {"10.9.2.2"} for each in yours}
        await made.until(lambda: made.routes() == both | first | second, "all routes")
        sh("ip -n router link del r1")
        left = {"10.88.0.1/32": {"10.9.2.2"}} | second
        await made.until(lambda: made.routes() == left, "the routes of the other one")
        # They stay so while the loop works on what it cannot have, until the session's end takes that away.
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert made.routes() == left
            await asyncio.sleep(0.05)
        assert two.all(Notification) == []
        for talk in (one, two):
            await talk.aclose()


@pytest.mark.timeout(900)
async def test_a_minute_of_flapping_costs_bounded_memory_and_ends_right() -> None:
    """A neighbour withdraws and announces a thousand prefixes each second; another one stays quiet."""
    async with router("10.9.1.2", "10.9.2.2") as made:
        restless, quiet = [await neighbour(address) for address in ("10.9.1.2", "10.9.2.2")]
        still = hosts("10.88.200.1", 20)
        await announce(quiet, "10.9.2.2", still)
        here, there = hosts("10.88.0.1", FLAPPING), hosts("10.88.16.1", FLAPPING)
        await announce(restless, "10.9.1.2", here)
        await made.until(lambda: len(made.routes()) == FLAPPING + len(still), "all routes")
        began = time.monotonic()
        early: dict[str, int] = {}
        for second in range(FLAP_SECONDS):
            # Half of them go and half come, and the other way round in the next second.
            gone, come = (here, there) if second % 2 == 0 else (there, here)
            await withdraw(restless, gone[: FLAPPING // 2])
            await announce(restless, "10.9.1.2", come[: FLAPPING // 2])
            if second == FLAP_SECONDS // 4:
                early = made.resident()
            await asyncio.sleep(max(0, began + second + 1 - time.monotonic()))
        late = made.resident()
        wanted = {str(each): {"10.9.1.2"} for each in here} | {str(each): {"10.9.2.2"} for each in still}
        await made.until(lambda: made.routes() == wanted, "the right end state")
        assert early.keys() == late.keys() == {"daemon", "speaker"}
        for name, size in late.items():
            assert size < GROWTH * early[name], (name, early, late)
        for talk in (restless, quiet):
            assert talk.all(Notification) == []
            assert not talk.ended
            await talk.aclose()
