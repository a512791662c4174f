"""Two leaves, two route reflectors and a client behind each leaf, each a network namespace of its own.

Not a test itself: `inside_two_reflectors.py` uses it as root of a user namespace. The links are plain, each
leaf has one to each reflector, and one between the leaves is there for sessions that go past the reflectors.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import attrs
from tests.netns.daemon_world import ROUTERD, sh
from tests.support.waiting import PATIENCE

HOLD = 9.0
"""Seconds of the hold time of the profile `fast`."""

STALE = 12.0
"""Seconds of `staleTime`."""

MARGIN = 5.0
"""Seconds that a slow machine may need beside a timer."""

FLOWS = 16
LEAVES = {"leaf-a": 1, "leaf-b": 2}
REFLECTORS = {"rr1": 1, "rr2": 2}
CLIENT = {"leaf-a": "10.88.1.1", "leaf-b": "10.88.2.1"}
OTHER = {"leaf-a": "leaf-b", "leaf-b": "leaf-a"}
DIRECT = {"leaf-a": "172.16.30.1", "leaf-b": "172.16.30.2"}
_SCRIPT = Path(__file__).with_name("udp_flows.py")

_HEAD = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: {name}}}
plugins: {{bgp_ryu: {{staleTime: {stale:g}s}}}}
spec:
  resources:
    - apiVersion: system.routerd.net/v1alpha1
      kind: Sysctl
      metadata: {{name: forwarding}}
      spec: {{key: net.ipv4.ip_forward, value: "1"}}
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPRouter
      metadata: {{name: fabric}}
      spec:
        asn: 64577
        routerID: 192.0.2.{number}
        timers: {{profile: fast}}
        redistribute: {{static: {{allowedPrefixes: [{own}]}}}}
"""
_PEER = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPPeer
      metadata: {{name: {name}}}
      spec:
        routerRef: BGPRouter/fabric
        peerASN: 64577
        peers: [{peers}]
        passiveMode: {passive}
        routeReflectorClient: {client}
        importPolicy:
          allowedPrefixes: [10.88.0.0/16]
          allowedPrefixLengthMin: 32
          allowedPrefixLengthMax: 32
          localPreference: {preference}
"""
_CLIENT = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: IPv4StaticRoute
      metadata: {{name: client}}
      spec: {{destination: {own}, via: 172.16.{number}.2}}
"""


def address(leaf: str, reflector: str, *, of_leaf: bool) -> str:
    """Return the address of one end of the link between a leaf and a reflector."""
    return f"172.16.{LEAVES[leaf]}{REFLECTORS[reflector]}.{2 if of_leaf else 1}"


def reflector_file(name: str) -> str:
    """Return the file of a route reflector: it waits for both leaves."""
    peers = ", ".join(address(leaf, name, of_leaf=True) for leaf in LEAVES)
    return _HEAD.format(name=name, number=10 + REFLECTORS[name], own="", stale=STALE) + _PEER.format(
        name="leaves", peers=peers, passive="true", client="true", preference=100
    )


def leaf_file(name: str, *, rr1: int = 100, rr2: int = 100, direct: int | None = None) -> str:
    """Return the file of a leaf, with the local preference of what each neighbour announces."""
    own = f"{CLIENT[name]}/32"
    text = _HEAD.format(name=name, number=LEAVES[name], own=own, stale=STALE)
    text += _CLIENT.format(own=own, number=LEAVES[name])
    for reflector, preference in (("rr1", rr1), ("rr2", rr2)):
        there = address(name, reflector, of_leaf=False)
        text += _PEER.format(
            name=reflector, peers=there, passive="false", client="false", preference=preference
        )
    if direct is not None:
        text += _PEER.format(
            name="direct",
            peers=DIRECT[OTHER[name]],
            passive="true" if name == "leaf-b" else "false",
            client="false",
            preference=direct,
        )
    return text


@attrs.define
class Node:
    """A router: its daemon, its speaker, and its kernel's routes."""

    name: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        return Path("/run", self.name)

    def command(self, *words: str) -> list[str]:
        places = ("--state-dir", str(self.home / "state"), "--run-dir", str(self.home / "run"))
        config = ("--config", str(self.home / "router.yaml"))
        return ["ip", "netns", "exec", self.name, *ROUTERD, *words, *config, *places]

    def write(self, text: str) -> None:
        self.home.mkdir(exist_ok=True)
        (self.home / "router.yaml").write_text(text)

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def reconfigure(self, text: str) -> None:
        """Make the daemon take another file, unless it has it already."""
        if text != (self.home / "router.yaml").read_text():
            self.write(text)
            self.ask("reload")

    def end(self, how: signal.Signals) -> None:
        """Send the daemon a signal, and wait until it has ended."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(300)
            self.process = None

    def kill_speaker(self) -> None:
        for pid in self.speakers():
            sh(f"kill -9 {pid}")

    def speakers(self) -> list[str]:
        """Return the numbers of the speaker's processes."""
        found = []
        for pid in sh(f"ip netns pids {self.name}").split():
            with contextlib.suppress(OSError):  # it has just ended
                if b"routerd_bgp_ryu.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def ask(self, *words: str) -> str:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def learned(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.ask("routes", "--json"))["items"]
        return found

    def established(self) -> int:
        """Return how many sessions are up, by the daemon's word; none while there is no daemon."""
        command = self.command("peers", "--json")
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        return done.stdout.count('"established"')

    def next_hops(self, target: str) -> set[str]:
        """Return the next hops of a host in the kernel."""
        found = json.loads(sh(f"ip -n {self.name} -j route show {target}/32 proto 147"))
        hops = [hop for route in found for hop in route.get("nexthops") or [route]]
        return {hop["gateway"] for hop in hops if "dead" not in hop.get("flags", [])}

    def sent(self, link: str) -> int:
        """Return how many packets have left over a link."""
        (found,) = json.loads(sh(f"ip -n {self.name} -j -s link show {link}"))
        return int(found["stats64"]["tx"]["packets"])

    def log(self) -> str:
        return (self.home / "log").read_text()


@attrs.define
class Traffic:
    """The packets from one client to the other."""

    process: subprocess.Popen[str]

    def report(self) -> dict[str, object]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("?")
        self.process.stdin.flush()
        found: dict[str, object] = json.loads(self.process.stdout.readline())
        return found

    def flow(self, seconds: float = PATIENCE) -> None:
        """Wait until all flows are answered again: for half a second, and no packet is missing."""
        end = time.monotonic() + seconds
        while True:
            began = time.monotonic()
            until(lambda began=began: self._newest() > began + 0.5, "answers", end - began)
            if not self.lost(began, began + 0.5):
                return

    def _newest(self) -> float:
        return float(str(self.report()["newest"]))

    def lost(self, since: float, before: float | None = None) -> list[float]:
        """Return when packets left that had no answer, counted from `since` on."""
        to = time.monotonic() if before is None else before
        # What left half a second later has its answer: what has none by now gets none.
        until(lambda: self._newest() > to + 0.5, "answers to what left later")
        times = self.report()["unanswered"]
        assert isinstance(times, list)
        return sorted(float(each) - since for each in times if since <= float(each) <= to)


@attrs.define
class Fabric:
    """All routers, and what is between them."""

    nodes: dict[str, Node]
    traffic: Traffic | None = None

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def ways(self, leaf: str) -> set[str]:
        """Return over whom a leaf's kernel sends to the other leaf's client: rr1, rr2, direct."""
        names = {address(leaf, each, of_leaf=False): each for each in REFLECTORS} | {
            DIRECT[OTHER[leaf]]: "direct"
        }
        return {names[hop] for hop in self[leaf].next_hops(CLIENT[OTHER[leaf]])}

    def until_ways(self, *wanted: str, seconds: float = PATIENCE) -> None:
        """Wait until both leaves send over these, and no others."""
        until(
            lambda: all(self.ways(leaf) == set(wanted) for leaf in LEAVES),
            f"both leaves use {wanted}",
            seconds,
            self.logs,
        )

    def logs(self) -> str:
        parts = [f"--- {name}: {self.nodes[name].log()[-2500:]}" for name in self.nodes]
        return "\n".join(parts) + "".join(f"\n{leaf}: {self.ways(leaf)}" for leaf in LEAVES)

    def silence(self, node: str, *, link: str = "") -> None:
        """Drop every packet that comes to or goes from a router, as if its host hung; or on one link."""
        came, goes = (f'{way} "{link}" ' if link else "" for way in ("iifname", "oifname"))
        rules = f"""table ip silence {{
          chain in {{ type filter hook prerouting priority -400; {came}drop; }}
          chain out {{ type filter hook postrouting priority 400; {goes}drop; }}
        }}"""
        subprocess.run(["ip", "netns", "exec", node, "nft", "-f", "-"], input=rules, text=True, check=True)

    def hear(self, node: str) -> None:
        """Let packets of a router through again."""
        sh(f"ip netns exec {node} nft delete table ip silence 2>/dev/null || true")

    def cut(self, reflector: str) -> None:
        """Set the links of a reflector down, at its end; its kernel forgets its routes with them."""
        self._set(reflector, "down")

    def mend(self, reflector: str) -> None:
        """Set them up again."""
        self._set(reflector, "up")

    def _set(self, reflector: str, state: str) -> None:
        for leaf in LEAVES:
            sh(f"ip -n {reflector} link set {leaf} {state}")

    def normal(self) -> None:
        """Bring back what a test has changed, and wait until both leaves use both reflectors."""
        for name in REFLECTORS:
            self.mend(name)
        for name, node in self.nodes.items():
            self.hear(name)
            node.write(plain_file(name)) if node.process is None else node.reconfigure(plain_file(name))
            if node.process is None:
                node.start()
        self.until_ways("rr1", "rr2")


def plain_file(name: str) -> str:
    return leaf_file(name) if name in LEAVES else reflector_file(name)


def until(
    holds: Callable[[], object], what: str, seconds: float = PATIENCE, more: Callable[[], str] = str
) -> None:
    """Wait for a condition, and say what did not come true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}\n{more()}"
        time.sleep(0.05)


def build() -> None:
    """Make the namespaces and their links."""
    sh("mount -t tmpfs tmpfs /run; ip link set lo up")
    for name in (*LEAVES, *REFLECTORS, "client-a", "client-b"):
        sh(f"ip netns add {name}; ip -n {name} link set lo up")
    for leaf, number in LEAVES.items():
        client = leaf.replace("leaf", "client")
        for reflector in REFLECTORS:
            ends = [address(leaf, reflector, of_leaf=of_leaf) for of_leaf in (True, False)]
            _link((leaf, reflector, ends[0]), (reflector, leaf, ends[1]))
        _link((leaf, "client", f"172.16.{number}.1"), (client, "leaf", f"172.16.{number}.2"))
        sh(f"ip -n {client} addr add {CLIENT[leaf]}/32 dev lo")
        sh(f"ip -n {client} route add default via 172.16.{number}.1 src {CLIENT[leaf]}")
        # By ports too: else all flows of two hosts are one.
        sh(f"ip netns exec {leaf} sysctl -qw net.ipv4.fib_multipath_hash_policy=1")
    _link(("leaf-a", "direct", DIRECT["leaf-a"]), ("leaf-b", "direct", DIRECT["leaf-b"]))


def _link(one: tuple[str, str, str], two: tuple[str, str, str]) -> None:
    sh(f"ip -n {one[0]} link add {one[1]} type veth peer name {two[1]} netns {two[0]}")
    for name, link, where in (one, two):
        sh(f"ip -n {name} addr add {where}/24 dev {link}; ip -n {name} link set {link} up")
        # Answers may come over another link than the one that is asked.
        sh(f"ip netns exec {name} sysctl -qw net.ipv4.conf.{link}.rp_filter=0")


@contextlib.contextmanager
def fabric() -> Iterator[Fabric]:
    """Run the four routers and the clients' packets."""
    build()
    made = Fabric({name: Node(name) for name in (*LEAVES, *REFLECTORS)})
    for name in made.nodes:
        made[name].write(plain_file(name))
    with contextlib.ExitStack() as stack:
        for node in made.nodes.values():
            stack.callback(lambda node=node: (node.end(signal.SIGKILL), node.kill_speaker()))
        echo = [sys.executable, str(_SCRIPT), "serve", CLIENT["leaf-b"]]
        stack.enter_context(_running("client-b", echo))
        made.normal()
        sender = [
            sys.executable,
            str(_SCRIPT),
            "send",
            CLIENT["leaf-a"],
            CLIENT["leaf-b"],
            str(FLOWS),
            "0.05",
        ]
        made.traffic = Traffic(stack.enter_context(_running("client-a", sender)))
        yield made


@contextlib.contextmanager
def _running(where: str, command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        ["ip", "netns", "exec", where, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def watched(node: str) -> Iterator[Callable[[], list[str]]]:
    """Watch a router's routes of ours, and yield what says which were deleted so far."""
    target = CLIENT[OTHER[node]]
    command = ["ip", "-n", node, "-o", "monitor", "route"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        seen = _Lines(process.stdout)
        # The monitor listens once it says what it is shown; a route that nobody uses is the sign.
        tries = iter(range(1, 10000))

        def heard() -> bool:
            sh(f"ip -n {node} route replace 198.51.100.{next(tries) % 200 + 1}/32 dev lo")
            return "198.51.100." in seen.text()

        until(heard, "the monitor listens")

        def deleted() -> list[str]:
            number = next(tries)
            mark = f"203.0.113.{number % 250 + 1}"
            sh(f"ip -n {node} route replace {mark} dev lo metric {number}")
            # What was said before this route has arrived with it.
            until(lambda: re.search(rf"{re.escape(mark)} .*metric {number}\b", seen.text()), "the mark")
            return re.findall(rf"Deleted {re.escape(target)} .*", seen.text())

        try:
            yield deleted
        finally:
            process.kill()


class _Lines:
    """What a program has printed so far."""

    def __init__(self, stream: IO[bytes]) -> None:
        import os

        self._stream = stream
        self._seen = b""
        os.set_blocking(stream.fileno(), False)

    def text(self) -> str:
        while data := self._stream.read():
            self._seen += data
        return self._seen.decode()
