"""Two sites and a hub between them, with tunnels made by routerd or by hand: not a test itself.

    client-a -- leaf-a == hub == leaf-b -- client-b

The double lines are ipip tunnels inside WireGuard, at 1420 and 1400 bytes. Runs as root in a mount
and network namespace of its own, whose /run is empty (`enter`).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROUTERD = [str(Path(sys.executable).with_name("routerd"))]
PLACE = Path("/run/fabric")
NAMESPACES = "-nmpf" if os.geteuid() == 0 else "-Urnmpf"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
LEAVES = ("leaf-a", "leaf-b")
ROUTERS = (*LEAVES, "hub")
NUMBER = {"leaf-a": 1, "leaf-b": 2}
WG = {"leaf-a": "wg1", "leaf-b": "wg2", "hub": "wg0"}
"""Different names, because the sockets of wireguard-go in /run are named by device alone."""
CLIENTS = {"client-a": "10.1.1.2", "client-b": "10.1.2.2"}

STRANGER = "stranger"
"""Whoever has one more key."""

RESOURCES = {
    "WireGuardInterface": "net.routerd.net",
    "WireGuardPeer": "net.routerd.net",
    "IPv4StaticAddress": "net.routerd.net",
    "IPv4StaticRoute": "net.routerd.net",
    "TunnelInterface": "hybrid.routerd.net",
    "Sysctl": "system.routerd.net",
}


def entering(*command: str) -> list[str]:
    """Return how to run `command` where a fabric may be built; what it leaves ends with it."""
    within = 'mount -t tmpfs none /run && mount -t tmpfs none /var/lib && "$@"; exit $?'
    unshare = ("unshare", NAMESPACES, "--mount-proc", "--kill-child")
    return ["env", f"PATH={PATH}", *unshare, "sh", "-c", within, "sh", *command]


def enter(*command: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command there to its end."""
    return subprocess.run(entering(*command), capture_output=True, text=True, timeout=seconds, check=False)


def sh(command: str) -> str:
    """Run a shell command and return its output; its failure is the test's."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def inside(node: str, command: str) -> str:
    """Run a shell command in a node and return its output."""
    return sh(f"ip netns exec {node} sh -c '{command}'")


def lay() -> None:
    """Make the nodes, their wires and addresses: what is there before anybody builds a tunnel."""
    PLACE.mkdir()
    for node in (*ROUTERS, *CLIENTS, STRANGER):
        key, public = PLACE / f"{node}.key", PLACE / f"{node}.pub"
        sh(f"umask 077; wg genkey > {key}; wg pubkey < {key} > {public}")
    for node in (*ROUTERS, *CLIENTS):
        sh(f"ip netns add {node}")
        inside(node, "ip link set lo up")
    for leaf, client in zip(LEAVES, CLIENTS, strict=True):
        number = NUMBER[leaf]
        sh(f"ip link add lan0 netns {leaf} type veth peer name eth0 netns {client}")
        sh(f"ip link add wan0 netns {leaf} type veth peer name wan{number} netns hub")
        inside(leaf, f"ip addr add 10.1.{number}.1/24 dev lan0; ip link set lan0 up")
        inside(leaf, f"ip addr add 198.18.{number}.1/30 dev wan0; ip link set wan0 up")
        inside("hub", f"ip addr add 198.18.{number}.2/30 dev wan{number}; ip link set wan{number} up")
        inside(client, f"ip addr add {CLIENTS[client]}/24 dev eth0; ip link set eth0 up")
        inside(client, f"ip route add default via 10.1.{number}.1")


def _public(node: str) -> str:
    return (PLACE / f"{node}.pub").read_text().strip()


def by_hand() -> None:
    """Build the tunnels with `ip` and `wg`, as a person would."""
    for node in ROUTERS:
        inside(node, "sysctl -qw net.ipv4.ip_forward=1")
        inside(node, f"ip link add {WG[node]} mtu 1420 type wireguard")
        inside(node, f"wg set {WG[node]} listen-port 51820 private-key {PLACE}/{node}.key")
    inside("hub", "ip addr add 10.20.0.10/32 dev wg0; ip link set wg0 up")
    for leaf, number in NUMBER.items():
        there, other = f"10.20.0.{number}", 3 - number
        wg = WG[leaf]
        inside(
            leaf, f"ip addr add {there}/32 dev {wg}; ip link set {wg} up; ip route add 10.20.0.10 dev {wg}"
        )
        inside(
            leaf,
            f"wg set {wg} peer {_public('hub')} endpoint 198.18.{number}.2:51820 "
            "allowed-ips 10.20.0.10/32 persistent-keepalive 25",
        )
        inside("hub", f"wg set wg0 peer {_public(leaf)} allowed-ips {there}/32; ip route add {there} dev wg0")
        make = "ip link add {name} mtu 1400 type ipip local {local} remote {remote} ttl 64"
        inside(leaf, make.format(name="tun0", local=there, remote="10.20.0.10"))
        inside(leaf, f"ip addr add 10.255.{number}.0/31 dev tun0; ip link set tun0 up")
        inside(leaf, f"ip route add 10.1.{other}.0/24 via 10.255.{number}.1")
        inside("hub", make.format(name=f"tun{number}", local="10.20.0.10", remote=there))
        inside("hub", f"ip addr add 10.255.{number}.1/31 dev tun{number}; ip link set tun{number} up")
        inside("hub", f"ip route add 10.1.{number}.0/24 via 10.255.{number}.0")
        inside(leaf, _clamp("tun0"))
    for number in NUMBER.values():
        inside("hub", _clamp(f"tun{number}"))


def _clamp(device: str) -> str:
    """Return the usual rule by which TCP fits into a tunnel whatever becomes of ICMP."""
    rule = "tcp flags syn / syn,rst tcp option maxseg size set rt mtu"
    chain = "{ type filter hook forward priority mangle; }"
    lines = ["add table ip clamp", f"add chain ip clamp f {chain}"]
    lines += [f"add rule ip clamp f {way} {device} {rule}" for way in ("oifname", "iifname")]
    return "; ".join(f'nft "{line}"' for line in lines)


def config(node: str, backend: str = "kernel") -> str:
    """Return the file by which routerd builds the same on one node."""
    wg = WG[node]
    found = [
        _resource("WireGuardInterface", wg, privateKeyFile=PLACE / f"{node}.key", listenPort=51820, mtu=1420),
        _resource("Sysctl", "forwarding", key="net.ipv4.ip_forward", value='"1"'),
    ]
    if node == "hub":
        found.append(_resource("IPv4StaticAddress", "wg-ipv4", interface=wg, address="10.20.0.10/32"))
        for leaf, number in NUMBER.items():
            found += [
                _resource(
                    "WireGuardPeer",
                    leaf,
                    interface=wg,
                    publicKey=_public(leaf),
                    allowedIPs=f"[10.20.0.{number}/32]",
                ),
                _resource(
                    "IPv4StaticRoute", f"outer-{leaf}", destination=f"10.20.0.{number}/32", interface=wg
                ),
                _tunnel(wg, f"tun{number}", "10.20.0.10", f"10.20.0.{number}", f"10.255.{number}.1/31"),
                _resource(
                    "IPv4StaticRoute", leaf, destination=f"10.1.{number}.0/24", via=f"10.255.{number}.0"
                ),
            ]
    else:
        number = NUMBER[node]
        found += [
            _resource("IPv4StaticAddress", "wg-ipv4", interface=wg, address=f"10.20.0.{number}/32"),
            _resource(
                "WireGuardPeer",
                "hub",
                interface=wg,
                publicKey=_public("hub"),
                allowedIPs="[10.20.0.10/32]",
                endpoint=f"198.18.{number}.2:51820",
                persistentKeepalive=25,
            ),
            _resource("IPv4StaticRoute", "outer", destination="10.20.0.10/32", interface=wg),
            _tunnel(wg, "tun0", f"10.20.0.{number}", "10.20.0.10", f"10.255.{number}.0/31"),
            _resource(
                "IPv4StaticRoute", "there", destination=f"10.1.{3 - number}.0/24", via=f"10.255.{number}.1"
            ),
        ]
    options = f"transport_ipip: {{backend: {backend}}}, transport_wireguard: {{backend: {backend}}}"
    head = "apiVersion: routerd.net/v1alpha1\nkind: Router\n"
    return f"{head}metadata: {{name: {node}}}\nplugins: {{{options}}}\nspec:\n  resources:\n{''.join(found)}"


def _tunnel(wg: str, name: str, local: str, remote: str, address: str) -> str:
    return _resource(
        "TunnelInterface",
        name,
        mode="ipip",
        local=local,
        remote=remote,
        address=address,
        underlayInterface=wg,
        trustedUnderlay="true",
    )


def _resource(kind: str, name: str, **spec: object) -> str:
    fields = ", ".join(f"{key}: {value}" for key, value in spec.items())
    return (
        f"    - apiVersion: {RESOURCES[kind]}/v1alpha1\n      kind: {kind}\n"
        f"      metadata: {{name: {name}}}\n      spec: {{{fields}}}\n"
    )


def command(node: str, *words: str) -> list[str]:
    """Return the command line of `routerd` in a node."""
    path = PLACE / f"{node}.yaml"
    directories = ("--state-dir", f"/var/lib/{node}", "--run-dir", f"/run/{node}")
    return ["ip", "netns", "exec", node, *ROUTERD, *words, "--config", str(path), *directories]


def by_routerd(backend: str = "kernel") -> None:
    """Build the tunnels with routerd, in one pass on each node."""
    for node in ROUTERS:
        (PLACE / f"{node}.yaml").write_text(config(node, backend))
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    command(node, "apply", "--once"),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for node in ROUTERS
        ]
        for node, process in zip(ROUTERS, running, strict=True):
            said, _ = process.communicate(timeout=900)
            assert process.returncode == 0, f"{node}: {said}"


class Killer:
    """Single runs of routerd in a node, to their end or to a chosen write; see `killer`."""

    def __init__(self, node: str) -> None:
        words = ["ip", "netns", "exec", node, sys.executable, "-m", "tests.vm.killer", node]
        self._process = subprocess.Popen(
            [*words, *command(node, "apply", "--once")[len(["ip", "netns", "exec", node, *ROUTERD]) :]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, writes: int = 0) -> int:
        """Run until the write of that number, which is not done, or to the end; return the exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{writes}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=300)


def more() -> str:
    """Return what makes the hub's file longer: a peer, and a tunnel with openings and a route of its own."""
    peer = _resource(
        "WireGuardPeer",
        STRANGER,
        interface=WG["hub"],
        publicKey=_public(STRANGER),
        allowedIPs="[10.20.0.9/32]",
    )
    return (
        peer
        + _resource(
            "TunnelInterface",
            "tun9",
            mode="gre",
            key=9,
            local="198.18.1.2",
            remote="198.18.1.1",
            address="10.255.9.1/31",
            trustedUnderlay="true",
        )
        + _resource("IPv4StaticRoute", "nine", destination="10.9.0.0/16", via="10.255.9.0")
    )


def links(node: str) -> list[str]:
    """Return the kinds of routerd's own devices as the kernel has them."""
    found = json.loads(inside(node, "ip -d -j link"))
    ours = [link for link in found if link.get("ifalias", "").startswith("routerd:")]
    return sorted(link["linkinfo"]["info_kind"] for link in ours)
