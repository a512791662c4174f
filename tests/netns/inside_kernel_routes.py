"""Routes on a real kernel: many of them, and while they change. Not collected: `test_routes_kernel.py`
runs it inside a user namespace of its own.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from routerd.errors import NotOwnedError, ProviderError, TransientError
from routerd.kernel.routes import socket as route_socket
from routerd.kernel.routes.lookup import RouteAnswer, lookup
from routerd.kernel.routes.table import RouteTable
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.route import MAX_NEXT_HOPS, NextHop, Route, RouteKey
from routerd.reconcile.diff import diff

MANY = 50_000
V0 = LinkName("v0")
WATCH = Path(__file__).with_name("route_watch.py")


def shell(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture(autouse=True)
def links() -> Iterator[None]:
    shell("ip link add v0 type veth peer name v1 && ip addr add 10.255.0.0/24 dev v0")
    shell("ip link set lo up && ip link set v0 up && ip link set v1 up")
    yield
    shell("ip link del v0; ip route flush table all proto 147; true")


def host(number: int) -> RouteKey:
    return RouteKey(prefix=IPv4Network(int(IPv4Address("10.77.0.0")) + number))


def via(*numbers: int) -> Route:
    gateways = (IPv4Address("10.255.0.0") + number for number in numbers)
    return Route(next_hops=tuple(NextHop(gateway=gateway, link=V0) for gateway in gateways))


HOSTS = [host(number) for number in range(MANY)]
ROUTES = {key: via(1 + number % 50) for number, key in enumerate(HOSTS)}
FAR = Route(next_hops=(NextHop(gateway=IPv4Address("10.254.0.1")),))


def created(routes: dict[RouteKey, Route]) -> list[Change[RouteKey, Route]]:
    return [Change(key=key, before=None, after=route) for key, route in routes.items()]


async def test_fifty_thousand_routes_are_installed_read_compared_and_removed() -> None:
    table = RouteTable()
    assert await table.apply(diff(ROUTES, await table.observe())) == {}
    observed = await table.observe()
    assert diff(ROUTES, observed, agrees=table.agrees) == []
    assert diff(ROUTES, await table.observe(), agrees=table.agrees) == [], "read a second time"

    drifted = {**ROUTES, HOSTS[7]: via(51), host(MANY): via(1)}
    del drifted[HOSTS[8]]
    changes = diff(drifted, observed, agrees=table.agrees)
    assert sorted(change.verb for change in changes) == ["create", "delete", "replace"]
    assert await table.apply(changes) == {}
    assert diff(drifted, await table.observe(), agrees=table.agrees) == []

    moved = dict.fromkeys(drifted, via(60))
    assert await table.apply(diff(moved, await table.observe())) == {}
    observed = await table.observe()
    assert observed == moved
    assert await table.apply(diff({}, observed)) == {}
    assert await table.observe() == {}


async def test_routes_that_stand_are_in_every_dump_while_others_come_and_go() -> None:
    """IPv4 routes are dumped without NLM_F_DUMP_INTR: the kernel goes on after the last prefix."""
    table = RouteTable()
    stand, move = HOSTS[0:20_000:2], HOSTS[1:20_000:2]
    assert await table.apply(created(dict.fromkeys(stand, via(1)))) == {}
    come = created(dict.fromkeys(move, via(2)))
    go = [Change(key=key, before=via(2), after=None) for key in move]
    over = threading.Event()

    async def restless() -> None:
        other = RouteTable()
        while not over.is_set():
            assert await other.apply(come) == {}
            assert await other.apply(go) == {}

    task = asyncio.create_task(restless())
    for _ in range(20):
        observed = await table.observe()
        assert {key: observed.get(key) for key in stand} == dict.fromkeys(stand, via(1))
        assert set(observed) <= set(HOSTS[:20_000])
    over.set()
    await task


@pytest.mark.parametrize("distance", [1, 7, 999])
async def test_refusals_all_over_a_batch_name_their_own_routes(distance: int) -> None:
    table = RouteTable()
    count = 3 * route_socket.BATCH + 10
    routes = {key: FAR if number % distance == 0 else via(number % 50 + 1)
              for number, key in enumerate(HOSTS[:count])}  # fmt: skip
    failures = await table.apply(created(routes))
    assert set(failures) == {key for key, route in routes.items() if route == FAR}
    for key, error in failures.items():
        assert str(error) == f"route {key.prefix}: next hop 10.254.0.1 is not reachable"
    assert await table.observe() == {key: route for key, route in routes.items() if route != FAR}


async def test_refusals_that_fill_a_small_receive_buffer_are_all_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(route_socket, "_RECEIVE_BUFFER", 100_000)
    monkeypatch.setattr(route_socket, "_SEND_BUFFER", 50_000)
    failures = await RouteTable().apply(created(dict.fromkeys(HOSTS[:3000], FAR)))
    assert set(failures) == set(HOSTS[:3000])
    assert all(isinstance(error, TransientError) for error in failures.values())
    assert {error.__cause__ for error in failures.values()} == {None}


async def test_as_many_next_hops_as_allowed_hold_in_many_routes() -> None:
    table = RouteTable()
    several = [via(*range(start, start + MAX_NEXT_HOPS)) for start in (1, 21, 41)]
    routes = dict(zip(HOSTS[:5000], itertools.cycle(several), strict=False))
    assert await table.apply(created(routes)) == {}
    assert await table.observe() == routes
    others = dict.fromkeys(routes, via(*range(2, 2 + MAX_NEXT_HOPS)))
    assert await table.apply(diff(others, routes)) == {}
    assert await table.observe() == others
    assert shell("ip route show 10.77.0.7").count("nexthop via") == MAX_NEXT_HOPS


async def test_among_many_replacements_the_foreign_route_stays() -> None:
    table = RouteTable()
    routes = dict.fromkeys(HOSTS[:5000], via(1))
    assert await table.apply(created(routes)) == {}
    foreign = HOSTS[3210]
    shell(f"ip route del {foreign.prefix}; ip route add {foreign.prefix} dev v1 metric 200 proto static")
    failures = await table.apply(diff(dict.fromkeys(routes, via(2)), routes))
    assert {key: type(error) for key, error in failures.items()} == {foreign: NotOwnedError}
    assert "dev v1 proto static" in shell(f"ip route show {foreign.prefix}")
    assert await table.observe() == dict.fromkeys([key for key in routes if key != foreign], via(2))


async def test_a_foreign_route_in_front_of_ours_is_not_replaced() -> None:
    table = RouteTable()
    assert await table.apply(created({host(1): via(1)})) == {}
    shell("ip route prepend 10.77.0.1/32 dev v1 metric 200 proto static")
    before = shell("ip route show 10.77.0.1")
    failures = await table.apply([Change(key=host(1), before=via(1), after=via(2))])
    assert isinstance(failures[host(1)], NotOwnedError)
    assert shell("ip route show 10.77.0.1") == before


class Watch:
    """Another process that reads a route all the time."""

    def __init__(self, key: RouteKey) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WATCH), str(key.prefix)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await asyncio.to_thread(self._process.stdout.readline)).strip()

    async def ended(self) -> list[str]:
        out, _ = await asyncio.to_thread(self._process.communicate, "", 20)
        return out.split()


async def test_a_route_that_is_replaced_a_thousand_times_is_never_missing() -> None:
    table = RouteTable()
    key = host(1)
    states = [via(1), via(2, 3), Route(next_hops=(NextHop(link=V0),)), via(4)]
    assert await table.apply(created({key: states[0]})) == {}
    watch = Watch(key)
    assert await watch.line() == "reading"
    for number in range(1000):
        change = Change(key=key, before=states[number % 4], after=states[(number + 1) % 4])
        assert await table.apply([change]) == {}
    (reads,) = await watch.ended()
    assert int(reads) > 1000


async def test_a_route_that_is_missing_for_a_moment_would_be_seen() -> None:
    """The watch of the test before sees a gap where there is one."""
    table = RouteTable()
    key = host(1)
    assert await table.apply(created({key: via(1)})) == {}
    watch = Watch(key)
    assert await watch.line() == "reading"
    assert await table.apply([Change(key=key, before=via(1), after=None)]) == {}
    assert await watch.line() == "missing"
    await watch.ended()


async def test_the_loop_gets_its_turns_while_many_routes_are_written_and_read() -> None:
    table = RouteTable()
    loop = asyncio.get_running_loop()
    longest = last = 0.0
    turns, over = 0, False

    def tick() -> None:
        nonlocal longest, last, turns
        now = loop.time()
        longest, last, turns = max(longest, now - last), now, turns + 1
        if not over:
            loop.call_soon(tick)

    changes = created(ROUTES)
    moved = [Change(key=key, before=route, after=via(60)) for key, route in ROUTES.items()]
    gc.disable()  # a collection holds everything up, however the work is spread
    try:
        began = last = loop.time()
        tick()
        failures: list[Iterable[ProviderError]] = [
            (await table.apply(changes)).values(),
            (await table.apply(moved)).values(),
        ]
        await table.observe()
        took = loop.time() - began
    finally:
        gc.enable()
        over = True
    assert not any(failures)
    assert turns > 100
    assert longest < took / 4, f"{longest:.3f} s without a turn, of {took:.3f} s"


async def test_a_dump_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_socket.wire, "RTM_GETROUTE", 255)
    with pytest.raises(TransientError, match=r"read routes: .*\b" + str(errno.EOPNOTSUPP)):
        await RouteTable().observe()


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit"])
async def test_a_look_up_says_how_the_kernel_refuses(kind: str) -> None:
    shell(f"ip route add {kind} 10.88.0.0/16")
    try:
        assert await lookup(IPv4Address("10.88.0.1")) == RouteAnswer(kind=kind)
    finally:
        shell(f"ip route del {kind} 10.88.0.0/16")
    assert await lookup(IPv4Address("10.88.0.1")) == RouteAnswer(kind="none")


async def test_a_look_up_says_which_route_the_kernel_takes() -> None:
    key = host(1)
    assert await RouteTable().apply(created({key: via(1, 2)})) == {}
    found = await lookup(key.prefix.network_address)
    assert found == RouteAnswer(
        kind="unicast", prefix=key.prefix, next_hops=via(1, 2).next_hops, protocol=147, metric=200, table=254
    )
    connected = await lookup(IPv4Address("10.255.0.0"))
    assert (connected.kind, connected.next_hops) == ("local", (NextHop(link=V0),))


async def test_a_look_up_follows_policy_rules_into_other_tables() -> None:
    shell("ip route add 10.88.0.0/16 via 10.255.0.9 dev v0 onlink table 77")
    shell("ip rule add to 10.88.7.0/24 lookup 77")
    try:
        found = await lookup(IPv4Address("10.88.7.1"))
    finally:
        shell("ip rule del to 10.88.7.0/24 lookup 77; ip route flush table 77")
    assert (found.prefix, found.table) == (IPv4Network("10.88.0.0/16"), 77)
    assert found.next_hops == (NextHop(gateway=IPv4Address("10.255.0.9"), link=V0),)
