"""Predictions against packets. Not collected: `test_fabric_policy_kernel.py` runs it in a namespace.

One router in the middle, with two links that are the fabric's (`la`, `lb`) and one that is its site (`lc`);
behind each a network namespace that sends any packet from any address and watches what arrives. Each packet
carries its number in the IP header. A probe has no time-out: after the probes of a policy each sender sends
a fence, which the first rule of every policy lets pass, and what has not arrived before it never will.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

import attrs
import pytest

from routerd.model.change import Change
from routerd.model.claim import Claim
from routerd.model.intent import Intent
from routerd.model.names import LinkName, NodeName
from routerd.model.resource import Resource, ResourceId
from routerd.model.subsystem import FabricFacts, FabricLink, Flow
from routerd.testing.context import make_context
from routerd_fabric_policy.check import check, known_leaves, own_site
from routerd_fabric_policy.derive import derive
from routerd_fabric_policy.kinds import FabricPolicySpec, RuleSpec
from routerd_fabric_policy.live import clauses
from routerd_fabric_policy.program import Nft
from routerd_fabric_policy.reading import read
from routerd_fabric_policy.subsystem import FabricPolicySubsystem
from routerd_fabric_policy.verdict import box_of, judged, verdict

POLICIES = 200
PROBES = 40
FENCE = 47999
SIDES: Mapping[str, tuple[str, ...]] = {
    "a": ("10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.1.7", "10.1.255.255"),
    "b": ("10.2.0.1", "10.2.0.2", "10.2.0.3", "10.2.1.7", "10.2.255.255"),
    "c": ("10.3.0.1", "10.3.0.2"),
}
LEAVES = {"leaf-a": ("10.1.0.1", "10.1.1.7"), "leaf-b": ("10.2.0.2",), "leaf-b2": ("10.2.0.3", "10.2.1.7")}
PREFIXES = (
    "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/31", "10.1.0.2/31", "10.2.0.0/24", "10.2.1.0/24",
    "10.2.0.1", "10.2.255.255", "10.1.0.1", "10.3.0.0/16", "10.3.0.2",
)  # fmt: skip
PORTS = (1, 22, 53, 80, 8000, 8005, 8010, 8011, 65535)
PORT_TEXTS = ("22", "53", "80", "8000-8010", "1-65535", "1", "65535", "8005-8011")
T = TypeVar("T")


def shell(command: str) -> str:
    return subprocess.run(["sh", "-ec", command], capture_output=True, text=True, check=True).stdout


def inside(pid: int, make: Callable[[], T]) -> T:
    """Call a function in the network namespace of a process; the sockets that it makes stay there."""
    found: list[T] = []

    def enter() -> None:
        handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        assert ctypes.CDLL(None, use_errno=True).setns(handle, 0x40000000) == 0
        os.close(handle)
        found.append(make())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return found[0]


class Host:
    """A namespace behind a link of the router."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.process = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        pid = self.process.pid
        shell(
            f"ip link add l{name} type veth peer name e netns {pid};"
            f"ip address add 192.0.2.{number}/31 dev l{name}; ip link set l{name} up;"
            f"nsenter -t {pid} -n sh -ec 'ip address add 192.0.2.{number + 1}/31 dev e;"
            f" ip link set e up; ip link set lo up; ip route add default via 192.0.2.{number}';"
            f"ip route add 10.{number // 2}.0.0/16 via 192.0.2.{number + 1}"
        )
        self.sender = inside(pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
        self.watcher = inside(
            pid, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        )
        self.watcher.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.watcher.setblocking(False)

    def run(self, command: str) -> str:
        return shell(f"nsenter -t {self.process.pid} -n {command}")

    def arrived(self) -> Iterator[bytes]:
        """Yield the packets that came to this host so far."""
        while True:
            try:
                packet, where = self.watcher.recvfrom(65536)
            except BlockingIOError:
                return
            if where[2] != socket.PACKET_OUTGOING:
                yield packet

    def close(self) -> None:
        self.sender.close()
        self.watcher.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@attrs.frozen(kw_only=True)
class Probe:
    """One packet: its number, where it goes, and what it is."""

    number: int
    source: str
    destination: str
    protocol: str
    port: int = 0

    @property
    def flow(self) -> Flow:
        return Flow(
            source=IPv4Network(self.source),
            destination=IPv4Network(self.destination),
            protocol=self.protocol,
            port=self.port,
        )

    def packet(self) -> bytes:
        """Return the packet with its IP header and right check sums."""
        source, target = IPv4Address(self.source).packed, IPv4Address(self.destination).packed
        # Both directions have other source ports than destination ports, so no probe is another's reply.
        port = 10000 + self.number % 10000
        if self.protocol == "icmp":
            kind, body = 1, struct.pack("!BBHHH", 8, 0, 0, self.number, 1)
            body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        elif self.protocol == "udp":
            kind, body = 17, struct.pack("!HHHH", port, self.port, 8, 0)
        else:
            kind = 6
            body = struct.pack("!HHIIBBHHH", port, self.port, self.number, 0, 5 << 4, 2, 1024, 0, 0)
            pseudo = source + target + struct.pack("!BBH", 0, 6, len(body))
            body = body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]
        header = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), self.number, 0, 64, kind, 0, source, target
        )
        return header + body


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class World:
    """The three hosts and the router between them."""

    def __init__(self) -> None:
        shell(
            "ip link set lo up; sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0"
            " net.ipv4.conf.default.rp_filter=0 net.ipv4.icmp_ratelimit=0; nft flush ruleset"
        )
        self.hosts = {name: Host(name, 2 * at) for at, name in enumerate(SIDES, start=1)}
        self.number = 1

    def try_all(self, probes: list[Probe]) -> tuple[set[int], set[int]]:
        """Send the probes, and return the numbers of those that arrived and of those that were rejected."""
        fences = {}
        for probe in probes:
            self.send(probe)
        for name, other in (("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")):
            fence = Probe(
                number=self.next(),
                source=SIDES[name][0],
                destination=SIDES[other][0],
                protocol="udp",
                port=FENCE,
            )
            fences[fence.number] = fence
            self.send(fence)
        passed: set[int] = set()
        rejected: set[int] = set()
        deadline = time.monotonic() + 60
        while not fences.keys() <= passed:
            assert time.monotonic() < deadline, "a fence did not arrive"
            select.select([host.watcher for host in self.hosts.values()], [], [], 5)
            for host in self.hosts.values():
                for packet in host.arrived():
                    self.note(host, packet, passed, rejected)
        sent = {probe.number for probe in probes}
        return passed & sent, rejected & sent

    @staticmethod
    def note(host: Host, packet: bytes, passed: set[int], rejected: set[int]) -> None:
        number, kind = struct.unpack("!H", packet[4:6])[0], packet[9]
        source, target = str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20]))
        if target in SIDES[host.name] and any(source in side for side in SIDES.values()):
            passed.add(number)
        elif kind == 1 and packet[20:22] == b"\x03\x0d" and target in SIDES[host.name]:
            rejected.add(struct.unpack("!H", packet[32:34])[0])

    def send(self, probe: Probe) -> None:
        side = next(name for name, addresses in SIDES.items() if probe.source in addresses)
        self.hosts[side].sender.sendto(probe.packet(), (probe.destination, 0))

    def next(self) -> int:
        self.number += 1
        return self.number

    def probes(self, chance: random.Random) -> list[Probe]:
        """Return probes from tunnel to tunnel, from a tunnel to the site, and from the site."""
        found = []
        for _ in range(PROBES):
            here, there = chance.choice(("ab", "ba", "ab", "ba", "ac", "bc", "ca"))
            protocol = chance.choice(("tcp", "tcp", "udp", "udp", "icmp"))
            found.append(
                Probe(
                    number=self.next(),
                    source=chance.choice(SIDES[here]),
                    destination=chance.choice(SIDES[there]),
                    protocol=protocol,
                    port=0 if protocol == "icmp" else chance.choice(PORTS),
                )
            )
        return found

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()


def spec_of(chance: random.Random) -> FabricPolicySpec:
    """Return a policy of random rules behind the rule that lets the fences pass."""
    items = (*PREFIXES, *(f"leaf:{name}" for name in LEAVES), "leaf:away")

    def some() -> tuple[str, ...]:
        return tuple(chance.sample(items, chance.randint(1, 3)))

    sets = {f"set-{at}": some() for at in range(chance.randint(0, 3))}

    def side() -> str | tuple[str, ...]:
        how = chance.random()
        if how < 0.2:
            return "any"
        if how < 0.5 and sets:
            return tuple(chance.sample(sorted(sets), 1)) + (some() if chance.random() < 0.3 else ())
        return some()

    def rule(at: int) -> RuleSpec:
        protocol = chance.choice(("", "", "tcp", "tcp", "udp", "udp", "icmp", "gre", "6"))
        ported = protocol in ("tcp", "udp", "6") and chance.random() < 0.8
        return RuleSpec(
            name=chance.choice(("", f"name-{at}")),
            source=side(),
            destination=side(),
            protocol=protocol,
            ports=tuple(chance.sample(PORT_TEXTS, chance.randint(1, 3))) if ported else (),
            action=chance.choice(("accept", "drop", "reject")),
        )

    fence = RuleSpec(name="fence", protocol="udp", ports=str(FENCE), action="accept")
    rules = (fence, *(rule(at) for at in range(chance.randint(0, 7))))
    return FabricPolicySpec(sets=sets, rules=rules, default=chance.choice(("accept", "drop")))


def resource(spec: FabricPolicySpec) -> Resource[FabricPolicySpec]:
    return Resource(id=ResourceId("policy.routerd.net/v1alpha1", "FabricPolicy", "inside"), spec=spec)


def claim(leaf: str, addresses: tuple[str, ...]) -> Claim:
    return Claim(
        name=leaf,
        policy_ref="SAMEnrollmentPolicy/leaves",
        leaf_id=leaf,
        tunnel_address="10.20.0.9/32",
        owned_addresses=tuple(f"{each}/32" for each in addresses),
    )


FACTS = FabricFacts(
    intent=Intent(node=NodeName("middle")),
    leaves=tuple(claim(leaf, addresses) for leaf, addresses in LEAVES.items()),
    own=(claim("site", SIDES["c"]),),
    links=(FabricLink(link=LinkName("la")), FabricLink(link=LinkName("lb"))),
)


async def enforce(subsystem: FabricPolicySubsystem, spec: FabricPolicySpec) -> None:
    """Bring a policy into the kernel as the loop does."""
    wanted = derive((resource(spec),), FACTS).tables
    for table, desired in (
        (subsystem.rules, wanted["rules"].values),
        (subsystem.tests, wanted["tests"].values),
    ):
        observed = await table.observe()
        differ = {key: value for key, value in desired.items() if observed.get(key) != value}
        made = [Change(key=key, before=observed.get(key), after=value) for key, value in differ.items()]
        gone = [Change(key=key, before=observed[key], after=None) for key in observed if key not in desired]
        assert await table.apply(made) == {}
        assert await table.apply(gone) == {}
        assert await table.observe() == desired


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    # Packets that one processor forwards stay in their order, so that the fences come last.
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    made = World()
    yield made
    made.close()
    os.sched_setaffinity(0, before)


@pytest.fixture
def subsystem(tmp_path: Path) -> FabricPolicySubsystem:
    return FabricPolicySubsystem(make_context(tmp_path))


async def test_what_is_predicted_is_what_packets_meet(world: World, subsystem: FabricPolicySubsystem) -> None:
    chance = random.Random(20261130)
    met = {"passed": 0, "stopped": 0, "rejected": 0}
    for _ in range(POLICIES):
        spec = spec_of(chance)
        policy, problems = read(resource(spec))
        assert problems == []
        assert not [each for each in check((resource(spec),), FACTS) if each.severity == "error"]
        await enforce(subsystem, spec)
        # A leaf that is away has no address: the kernel's set has none either.
        leaves = {**known_leaves(FACTS), "away": ()}
        actions = {rule.label: rule.action for rule in policy.rules}
        held = await Nft().read()
        expected = subsystem.tests.expected()
        assert expected is not None
        lines = {link: clauses(held, link, expected) for link in ("la", "lb")}
        probes = world.probes(chance)
        passed, rejected = world.try_all(probes)
        for probe in probes:
            predicted = verdict(policy, leaves, probe.flow, own_site(FACTS))
            told = f"{probe}\n{predicted}\n{spec}"
            assert predicted.answer in ("passes", "stopped"), told
            assert (probe.number in passed) == (predicted.answer == "passes"), told
            decided = predicted.stopping[0] if predicted.stopping else ""
            assert (probe.number in rejected) == (actions.get(decided) == "reject"), told
            link = "lb" if probe.source in SIDES["b"] else "la"
            assert judged(lines[link], box_of(probe.flow)) == predicted, told
            met["passed"] += predicted.answer == "passes"
            met["stopped"] += predicted.answer == "stopped"
            met["rejected"] += probe.number in rejected
    assert min(met.values()) > POLICIES, met


OPEN_ONE_WAY = FabricPolicySpec(
    rules=(
        RuleSpec(name="fence", protocol="udp", ports=str(FENCE), action="accept"),
        RuleSpec(name="out", source="10.1.0.0/16", destination="10.2.0.0/16", action="accept"),
    ),
    default="drop",
)


async def test_replies_of_an_accepted_flow_pass_and_nothing_else_does(
    world: World, subsystem: FabricPolicySubsystem
) -> None:
    await enforce(subsystem, OPEN_ONE_WAY)
    a, b = world.hosts["a"], world.hosts["b"]
    a.run("ip address add 10.1.0.1/32 dev lo")
    b.run("ip address add 10.2.0.1/32 dev lo")
    server = inside(b.process.pid, lambda: socket.create_server(("10.2.0.1", 80)))
    client = inside(a.process.pid, lambda: socket.create_connection(("10.2.0.1", 80), 30, ("10.1.0.1", 0)))
    there, _ = server.accept()
    there.sendall(b"hello")
    assert client.recv(5) == b"hello"
    # An ICMP error about an accepted packet: nobody listens on this port.
    udp = inside(a.process.pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("10.1.0.1", 0))
    udp.connect(("10.2.0.1", 9))
    udp.settimeout(30)
    udp.send(b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        udp.recv(1)
    # The way back by itself is shut.
    backward = Probe(number=world.next(), source="10.2.0.1", destination="10.1.0.1", protocol="icmp")
    passed, rejected = world.try_all([backward])
    assert backward.number not in passed | rejected
    for each in (server, client, there, udp):
        each.close()


async def test_nothing_of_the_fabric_is_judged_without_a_policy(
    world: World, subsystem: FabricPolicySubsystem
) -> None:
    await enforce(subsystem, FabricPolicySpec(rules=OPEN_ONE_WAY.rules[:1], default="drop"))
    chance = random.Random(5)
    closed = world.probes(chance)
    assert world.try_all(closed)[0] == {each.number for each in closed if each.source in SIDES["c"]}
    await subsystem.rules.apply(
        [
            Change(key=key, before=value, after=None)
            for key, value in (await subsystem.rules.observe()).items()
        ]
    )
    probes = world.probes(chance)
    assert world.try_all(probes)[0] == {each.number for each in probes}


async def test_no_packet_finds_the_rules_absent_while_they_change(
    world: World, subsystem: FabricPolicySubsystem
) -> None:
    """Two policies that both stop a flow change places while its packets come all the time."""
    fence = OPEN_ONE_WAY.rules[0]
    other = [
        tuple(RuleSpec(protocol="tcp", ports=each, action="accept") for each in "126"[at:]) for at in (0, 2)
    ]
    shut = [FabricPolicySpec(rules=(fence, *rules), default="drop") for rules in other]
    await enforce(subsystem, shut[0])
    probe = Probe(number=60000, source="10.1.0.3", destination="10.2.0.3", protocol="udp", port=53)
    ended = threading.Event()
    sent: list[int] = []

    def flood() -> None:
        while not ended.is_set():
            world.send(probe)
            sent.append(1)
            # Room for the program that changes the rules: there are two processors.
            ended.wait(0.0005)

    sender = threading.Thread(target=flood)
    sender.start()
    try:
        for turn in range(40):
            await enforce(subsystem, shut[turn % 2])
    finally:
        ended.set()
        sender.join()
    passed, _ = world.try_all([probe])
    assert passed == set()
    assert len(sent) > 100


async def test_a_test_that_fails_in_the_kernel_is_named_by_what_the_kernel_holds(
    world: World, subsystem: FabricPolicySubsystem
) -> None:
    spec = attrs.evolve(
        OPEN_ONE_WAY,
        tests=("10.1.0.1 reaches 10.2.0.1 by tcp/22", "10.2.0.1 does not reach 10.1.0.1 by icmp"),
    )
    await enforce(subsystem, spec)
    (route,) = subsystem.control_routes()
    assert route.path == "verify"

    async def results() -> list[tuple[str, str]]:
        answer = await route.handler({})
        assert isinstance(answer, dict)
        tests = answer["tests"]
        assert isinstance(tests, list)
        assert answer["passed"] == all(each["result"] == "holds" for each in tests)
        return [(each["result"], each["because"]) for each in tests]

    sound = [("holds", "rule 2 (out) lets it pass"), ("holds", "the default stops it")]
    assert await results() == sound
    shell("nft insert rule inet routerd_policy judge ip saddr 10.1.0.0/24 tcp dport 22 drop")
    assert (await results())[0] == ("fails", "a foreign rule (drop) stops it")
    await enforce(subsystem, spec)
    shell("nft insert rule inet routerd_policy judge meta mark 7 accept")
    assert [result for result, _ in await results()] == ["holds", "unknown"]
    await enforce(subsystem, spec)
    shell("nft delete element inet routerd_policy links { lb }")
    assert (await results())[1] == ("fails", "the kernel, which judges no packet of lb, lets it pass")
    shell("nft flush ruleset")
    assert [result for result, _ in await results()] == ["holds", "fails"]
    await enforce(subsystem, spec)
    assert await results() == sound
