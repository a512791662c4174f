"""Our speaker against BIRD 2, both as route reflector and as leaf, on port 179 over veth links.

Each test runs itself once more inside a user namespace of its own: there our speaker sits in the
first network namespace, and each BIRD in another. BIRD is asked through its control socket what it
has, so that nothing rests on our own opinion.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import attrs
import pytest

from routerd.model.session import ImportPolicy, Session
from routerd_bgp_ryu.testing.nodes import ASN, FAST, OWNER, Node, Nodes, host, put, until

INSIDE = "ROUTERD_INTEROP_INSIDE"
A, B, C = "10.88.1.1/32", "10.88.2.1/32", "10.88.3.1/32"

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed (package bird2)"),
]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


@pytest.fixture
def inside(request: pytest.FixtureRequest) -> bool:
    """Say whether this is the run inside the namespaces; outside, make it, and pass on how it ended."""
    if os.environ.get(INSIDE):
        run("mount", "-t", "tmpfs", "none", "/run")
        run("ip", "link", "set", "lo", "up")
        return True
    done = subprocess.run(
        [
            *("unshare", "-Urnm", "--"),
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"),
            f"{request.path}::{request.node.name}",
        ],
        env={**os.environ, INSIDE: "1"},
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "1 skipped" in done.stdout:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert "1 passed" in done.stdout, done.stdout
    return False


class Bird:
    """A BIRD in a network namespace of its own."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory
        self._control = directory / f"{name}.ctl"
        self._process: subprocess.Popen[bytes] | None = None
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def link(self, number: int, other: str | None = None) -> None:
        """Join it to our namespace, or to `other`, by 10.255.<number>.0/31; it has the odd address."""
        near, far = f"v{number}", f"w{number}"
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        if other is not None:
            run("ip", "link", "set", near, "netns", other)
        for where, device, address in ((other, near, 0), (self.name, far, 1)):
            at = ["-n", where] if where else []
            run("ip", *at, "addr", "add", f"10.255.{number}.{address}/31", "dev", device)
            run("ip", *at, "link", "set", device, "up")

    def start(self, router_id: str, *parts: str) -> None:
        config = self._directory / f"{self.name}.conf"
        head = f"router id {router_id};\nprotocol device {{}}\nprotocol direct {{ ipv4; }}\n"
        config.write_text(head + "\n".join(parts))
        run("bird", "-p", "-c", str(config))
        self._process = subprocess.Popen(
            [
                *("ip", "netns", "exec", self.name, "bird", "-f"),
                *("-c", str(config), "-s", str(self._control)),
                *("-P", str(self._directory / f"{self.name}.pid")),
            ],
            stderr=subprocess.DEVNULL,
        )

    def ask(self, *words: str) -> str:
        """Return BIRD's answer; nothing while it is still starting."""
        done = subprocess.run(
            ["birdc", "-s", str(self._control), *words],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""

    def routes(self, protocol: str) -> set[str]:
        """Return the prefixes learned from a neighbour that BIRD can really use."""
        text = self.ask("show", "route", "protocol", protocol)
        return {line.split()[0] for line in text.splitlines() if "/" in line and "unicast" in line}

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)


def static(*prefixes: str) -> str:
    lines = " ".join(f"route {prefix} blackhole;" for prefix in prefixes)
    return f"protocol static claim {{ ipv4; {lines} }}"


def bgp(name: str, local: str, neighbour: str, *more: str) -> str:
    return (
        f"protocol bgp {name} {{ local {local} as {ASN}; neighbor {neighbour} as {ASN}; direct;"
        f" hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 2; {' '.join(more)} }}"
    )


TO_RR = "ipv4 { import all; export where source = RTS_STATIC; };"
TO_CLIENT = "rr client; ipv4 { import all; export where source = RTS_BGP; next hop self; };"


@contextmanager
def birds(directory: Path, *names: str) -> Iterator[list[Bird]]:
    with ExitStack() as stack:
        made = []
        for name in names:
            bird = Bird(name, directory)
            stack.callback(bird.stop)
            made.append(bird)
        yield made


def client(**more: object) -> Session:
    return Session(peer_asn=ASN, owner=OWNER, timers=FAST, **more)  # type: ignore[arg-type]  # passed on


async def reflector(nodes: Nodes, *claims: tuple[str, str], **more: object) -> Node:
    """Start our route reflector with a client for each neighbour and claim."""
    rr = nodes()
    await rr.start(listen=None, port=179, router_id=IPv4Address("10.99.0.1"))
    for neighbour, claim in claims:
        address = IPv4Address(neighbour)
        await put(rr.routing.admission, address, ImportPolicy(hosts=frozenset({host(claim)})))
        session = client(passive=True, route_reflector_client=True, next_hop_self=True, **more)
        await put(rr.routing.sessions, address, session)
    return rr


async def test_bird_leaves_below_our_reflector(inside: bool, nodes: Nodes, short_path: Path) -> None:
    if not inside:
        return
    with birds(short_path, "a", "b") as (a, b):
        a.link(1)
        b.link(2)
        rr = await reflector(nodes, ("10.255.1.1", A), ("10.255.2.1", B))
        a.start("10.99.0.11", static(A, C, "10.88.0.0/16"), bgp("up", "10.255.1.1", "10.255.1.0", TO_RR))
        b.start("10.99.0.12", static(B), bgp("up", "10.255.2.1", "10.255.2.0", TO_RR))
        await until(lambda: a.routes("up") == {B} and b.routes("up") == {A}, "reflected, and usable")
        assert "via 10.255.1.0" in a.ask("show", "route", B)
        detail = a.ask("show", "route", B, "all")
        assert "BGP.cluster_list: 10.99.0.1" in detail
        assert "BGP.local_pref: 100" in detail
        await until(
            lambda: (
                rr.rejected() == {C: "prefix-not-owned-by-claim", "10.88.0.0/16": "not-exact-host-prefix"}
            ),
            "rejected",
        )
        a.ask("disable", "claim")
        await until(lambda: b.routes("up") == set(), "withdrawn")
        a.ask("enable", "claim")
        await until(lambda: b.routes("up") == {A}, "announced again")
        a.ask("restart", "up")
        await until(lambda: b.routes("up") == set(), "session reset")
        await until(lambda: b.routes("up") == {A} and a.routes("up") == {B}, "session back")


async def test_our_leaf_below_a_bird_reflector(inside: bool, nodes: Nodes, short_path: Path) -> None:
    if not inside:
        return
    with birds(short_path, "r", "b") as (rr, leaf):
        rr.link(1)
        leaf.link(2, other="r")
        rr.start(
            "10.99.0.1",
            bgp("ours", "10.255.1.1", "10.255.1.0", "passive;", TO_CLIENT),
            bgp("second", "10.255.2.0", "10.255.2.1", "passive;", TO_CLIENT),
        )
        leaf.start("10.99.0.12", static(B), bgp("up", "10.255.2.1", "10.255.2.0", TO_RR))
        ours = nodes()
        await ours.start(listen=None, port=179, router_id=IPv4Address("10.99.0.11"))
        address = IPv4Address("10.255.1.1")
        await put(ours.routing.admission, address, ImportPolicy(within=frozenset({host("10.88.0.0/16")})))
        await put(ours.routing.sessions, address, client(source=IPv4Address("10.255.1.0")))
        await ours.announce(A, communities=frozenset({"64512:100"}), local_preference=200)
        await until(lambda: ours.learned() == {B: {"10.255.1.1"}}, "learned from BIRD")
        assert {str(route.originator) for route in ours.last.routes} == {"10.99.0.12"}
        await until(lambda: leaf.routes("up") == {A}, "reflected by BIRD")
        detail = rr.ask("show", "route", A, "all")
        assert "BGP.next_hop: 10.255.1.0" in detail
        assert "(64512,100)" in detail
        assert "BGP.local_pref: 200" in detail
        state = next(iter(await ours.routing.states()))
        assert (state.remote_router_id, state.advertised) == (IPv4Address("10.99.0.1"), 1)
        rr.ask("disable", "ours")
        await until(lambda: ours.learned() == {}, "gone with the session")
        async with asyncio.timeout(10):
            while "received administrative shutdown" not in (await ours.routing.states())[0].last_error:  # noqa: ASYNC110 - BIRD's doing
                await asyncio.sleep(0.05)


async def test_a_bird_of_another_router_id_or_as_than_expected_is_refused_and_told(
    inside: bool, nodes: Nodes, short_path: Path
) -> None:
    if not inside:
        return
    with birds(short_path, "a") as (a,):
        a.link(1)
        address = IPv4Address("10.255.1.1")
        rr = await reflector(nodes, ("10.255.1.1", A), peer_router_id=IPv4Address("10.99.0.12"))
        session = (await rr.routing.sessions.observe())[address]
        a.start("10.99.0.11", static(A), bgp("up", "10.255.1.1", "10.255.1.0", TO_RR))
        await until(lambda: "Bad BGP identifier" in a.ask("show", "protocols", "all", "up"), "its router ID")
        assert (await rr.routing.states())[0].remote_router_id == IPv4Address("10.99.0.11")
        await put(rr.routing.sessions, address, attrs.evolve(session, peer_asn=64999))
        await until(lambda: "Bad peer AS" in a.ask("show", "protocols", "all", "up"), "its AS number")
        assert rr.last.routes == ()
        await put(
            rr.routing.sessions, address, attrs.evolve(session, peer_router_id=IPv4Address("10.99.0.11"))
        )
        await until(lambda: rr.learned() == {A: {"10.255.1.1"}}, "expected, and let in")


async def test_a_password_of_tcp_md5_is_understood(inside: bool, nodes: Nodes, short_path: Path) -> None:
    if not inside:
        return
    with birds(short_path, "a") as (a,):
        a.link(1)
        await reflector(nodes, ("10.255.1.1", A), password="secret")
        a.start("10.99.0.11", static(A), bgp("up", "10.255.1.1", "10.255.1.0", 'password "secret";', TO_RR))
        try:
            await until(lambda: "Established" in a.ask("show", "protocols", "up"), "established", 15)
        except pytest.fail.Exception:
            log = a.ask("show", "protocols", "all", "up")
            if "MD5" in log or "not supported" in log or "No such file" in log:
                pytest.skip("this kernel has no TCP MD5")
            raise
