"""One life of a daemon on a host that is not empty, for `test_host_kernel.py`: not a test itself.

Runs as root in a mount and a network namespace of its own, with an empty /run and /var/lib. It imports
nothing of routerd, for that takes an emulated machine its time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.vm.host_world import KERNEL, SECONDS, build, difference, links, sh, snapshot

ROUTERD = [str(Path(sys.executable).with_name("routerd")), "--config", "/run/router.yaml"]
SOCKET = "/run/routerd/routerd.sock"
LOG = Path("/run/routerd.log")
OURS = {"t-ipip": "ipip", "t-gre": "gre", "t-fou": "ipip", "wg-here": "wireguard"}

CONFIG = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: here}
plugins: [transport_ipip, transport_wireguard, bgp_ryu, enrollment_token]
spec:
  resources:
"""
RESOURCES = (
    ("net", "Interface", "lan", "{ifname: lan0, managed: false}"),
    ("hybrid", "TunnelInterface", "t-ipip", "{mode: ipip, address: 10.9.1.1/24, %s}"),
    ("hybrid", "TunnelInterface", "t-gre", "{mode: gre, address: 10.9.2.1/24, %s}"),
    ("hybrid", "TunnelInterface", "t-fou",
     "{mode: fou, encapSport: 5555, encapDport: 5555, address: 10.9.3.1/24, %s}"),
    ("net", "WireGuardInterface", "wg-here", "{privateKeyFile: /run/here.key, listenPort: 51820}"),
    ("net", "IPv4StaticAddress", "wg-here-ipv4", "{interface: wg-here, address: 10.8.0.1/24}"),
    ("net", "WireGuardPeer", "far", "{interface: wg-here, publicKey: %s, allowedIPs: [10.8.0.2/32]}"),
    ("net", "IPv4StaticRoute", "back", "{destination: 10.77.0.5/32, via: 10.9.1.2}"),
    ("net", "IPv4StaticRoute", "branch", "{destination: 10.50.0.0/16, via: 10.9.2.2}"),
    ("net", "BGPRouter", "here", "{asn: 64577, routerID: 10.8.0.1}"),
    ("system", "ControlAPI", "enrollment", "{listenAddress: 0.0.0.0, allowCIDRs: [10.1.0.2/32]}"),
    ("system", "SysctlProfile", "router", "{profile: router-linux}"),
)  # fmt: skip
OPENINGS = {
    "nft list chain inet mine arriving": (
        "udp dport 51820 accept",
        "ip saddr 10.1.0.3 udp dport 5555 accept",
        "ip saddr 10.1.0.2 meta l4proto ipencap accept",
        "ip saddr 10.1.0.2 meta l4proto gre accept",
        'iifname "t-ipip" tcp dport 179 accept',
        "ip saddr 10.1.0.2 tcp dport 65432 accept",
    ),
    "nft list chain inet mine passing": ('iifname "t-gre" accept', 'oifname "t-gre" accept'),
    "nft list chain inet routerd forward": ('iifname "t-fou" accept', 'oifname "t-fou" accept'),
    "nft list chain ip routerd mss": ('oifname "t-ipip" tcp flags',),
    "iptables-nft -S": (
        "-A INPUT -p udp -m udp --dport 51820 -m comment --comment routerd -j ACCEPT",
        "-A INPUT -s 10.1.0.2/32 -p ipencap -m comment --comment routerd -j ACCEPT",
        "-A FORWARD -i t-ipip -m comment --comment routerd -j ACCEPT",
    ),
    "iptables-legacy -S": (
        "-A INPUT -s 10.1.0.3/32 -p udp -m udp --dport 5555 -m comment --comment routerd -j ACCEPT",
        "-A INPUT -s 10.1.0.2/32 -p gre -m comment --comment routerd -j ACCEPT",
        "-A INPUT -i t-gre -p tcp -m tcp --dport 179 -m comment --comment routerd -j ACCEPT",
        "-A FORWARD -o t-fou -m comment --comment routerd -j ACCEPT",
    ),
}
"""By the command that shows it: rules that have to be there, each exactly once."""


def main() -> None:
    build()
    before = snapshot()
    write_configuration()
    half_made = killed_in_the_middle()
    with daemon() as process:
        until(is_ready)
        for name in half_made:
            assert name in our_links(), (name, our_links())
        look()
        traffic()
        held = snapshot()
        process.kill()
        process.wait()
    assert snapshot() == held, difference(held, snapshot())
    if KERNEL:
        # Nobody looks after it now. This is what strict filters do to tunnels, and what loose ones are for.
        setting("t-gre").write_text("1")
        assert asymmetric() == "dropped"
    with daemon():
        until(is_ready)
        assert setting("t-gre").read_text() == "2\n"
        adopted = snapshot()
        assert adopted == held, difference(held, adopted)
        traffic()
    assert snapshot() == held, difference(held, snapshot())
    # Somebody has been here before us: what is left is no tunnel and no rule, and ours all the same.
    sh("ip link del t-fou; nft flush table ip routerd")
    down = subprocess.run([*ROUTERD, "down"], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert down.returncode == 0, down
    after = snapshot()
    assert after == before, difference(before, after)


def write_configuration() -> None:
    text = CONFIG
    wire = "trustedUnderlay: true, local: 10.1.0.1, remote: "
    fills = {
        **dict.fromkeys(("t-ipip", "t-gre"), wire + "10.1.0.2"),
        "t-fou": wire + "10.1.0.3",
        "far": sh("wg pubkey </run/far.key").strip(),
    }
    for group, kind, name, spec in RESOURCES:
        filled = spec % fills[name] if name in fills else spec
        text += (
            f"    - {{apiVersion: {group}.routerd.net/v1alpha1, kind: {kind}, metadata: {{name: {name}}},\n"
        )
        text += f"       spec: {filled}}}\n"
    Path("/run/router.yaml").write_text(text)


# --- what has to be true ---------------------------------------------------------------------------------


def killed_in_the_middle() -> list[str]:
    """Kill a daemon as soon as it has made anything; return the devices that it had made."""
    with daemon() as process:
        until(lambda: our_links() or process.poll() is not None)
        process.kill()
    found = our_links()
    assert found, LOG.read_text()
    return found


def look() -> None:
    """Look at what a daemon has made and says."""
    if KERNEL:
        kinds = {each["ifname"]: each["linkinfo"]["info_kind"] for each in links() if is_ours(each)}
        assert kinds == OURS, kinds
    shown = {command: sh(command) for command in OPENINGS}
    for command, rules in OPENINGS.items():
        for rule in rules:
            assert shown[command].count(rule) == 1, f"{command}: {rule}\n{shown[command]}"
    said = status()
    assert {each["link"] for each in said["tunnels"]} == set(OURS), said["tunnels"]
    strict = {note.partition(":")[0] for note in said["notes"] if "reverse path" in note}
    assert strict == {"lan0", "lan1", *(["wg-other"] if KERNEL else [])}, said["notes"]
    assert all(f"net.ipv4.conf.{name}.rp_filter and value" in str(said["notes"]) for name in strict)
    assert all(setting(name).read_text() == "2\n" for name in OURS)
    assert setting("lan0").read_text() == "1\n"
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
    assert "10.50.0.0/16 via 10.9.2.2 dev t-gre proto 147 metric 200" in sh("ip route")


def traffic() -> None:
    """Come in by everything that was opened, through three packet filters that let nothing in."""
    sh("ip netns exec far bash -c '</dev/tcp/10.1.0.1/65432'")
    if not KERNEL:
        return
    for address in ("10.9.1.1", "10.9.2.1", "10.9.3.1", "10.8.0.1"):
        sh(f"ip netns exec far ping -q -c 1 -w 60 {address}")
    assert asymmetric() == "received"


def asymmetric() -> str:
    """Have `far` ping `site` by the one tunnel while the way back is the other; say what became of it."""
    before = filtered()
    ping = "ip netns exec far ping -q -i 0.5 -c 1 -w {} 10.2.0.2"
    done = subprocess.run(ping.format(5), shell=True, capture_output=True, text=True, check=False)
    if done.returncode and filtered() > before:
        return "dropped"
    # The emulated machine may take its time.
    sh(ping.format(60))
    return "received" if filtered() == before else "both"


def filtered() -> int:
    """Return how many packets strict filters have dropped here."""
    name = "TcpExtIPReversePathFilter"
    return int(sh(f"nstat -asz {name}").split(name)[1].split()[0])


def setting(device: str) -> Path:
    return Path(f"/proc/sys/net/ipv4/conf/{device}/rp_filter")


def is_ours(link: dict[str, Any]) -> bool:
    return str(link.get("ifalias", "")).startswith("routerd:")


def our_links() -> list[str]:
    return [each["ifname"] for each in links() if is_ours(each)]


# --- the daemon ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def daemon() -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon; end it as systemd would."""
    with LOG.open("ab") as log, subprocess.Popen(ROUTERD, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=SECONDS)


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(SOCKET)


def status() -> dict[str, Any]:
    connection = _Connection("localhost")
    with contextlib.closing(connection):
        connection.request("GET", "/v1/status")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found


def is_ready() -> bool:
    try:
        return status()["phase"] == "Ready"
    except OSError:
        return False


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"it did not come true in {SECONDS:g} s; log:\n{LOG.read_text()}"
        time.sleep(0.05)


if __name__ == "__main__":
    main()
