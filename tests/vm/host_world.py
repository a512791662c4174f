"""A host that is not empty, for `inside_host_kernel.py`: not a test itself.

    site -- lan1 [here] lan0 == far

It filters packets in all three ways at once, filters reverse paths strictly, and holds what looks
like routerd's and is not. The double line is for one tunnel of each kind, whose far ends are made by
hand. Built as root of a mount and a network namespace of its own, with an empty /run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

KERNEL = sys.argv[1:] == ["kernel"]
"""Whether this kernel makes tunnels; where it does not, routerd's own processes do."""

SECONDS = 300.0
"""How long anything may take: the machine may be an emulated one."""

HOST = """
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set lo up
for name in far site; do ip netns add $name; ip -n $name link set lo up; done
ip link add lan0 type veth peer name e0 netns far
ip link add lan1 type veth peer name e1 netns site
ip addr add 10.1.0.1/24 dev lan0; ip link set lan0 up
ip addr add 10.2.0.1/24 dev lan1; ip link set lan1 up
# A tunnel of mode fou is an ipip device too, and no two of these have the same ends.
ip -n far link set e0 up; ip -n far addr add 10.1.0.2/24 dev e0; ip -n far addr add 10.1.0.3/24 dev e0
ip -n site link set e1 up; ip -n site addr add 10.2.0.2/24 dev e1
ip -n site route add default via 10.2.0.1
# A careful host: strict filters, no redirects, and one device that forwards when nothing else does.
sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.all.accept_redirects=0
sysctl -qw net.ipv4.conf.lan1.forwarding=1 net.ipv4.conf.lan0.rp_filter=1
"""
FILTERS = """
nft -f - <<'END'
table inet mine {
  chain bad { reject with icmpx admin-prohibited; }
  chain arriving {
    type filter hook input priority 0; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname "lo" accept
    meta l4proto icmp accept
    udp dport 7 accept comment "routerd accept input for the web"
    jump bad
  }
  chain passing {
    type filter hook forward priority 0; policy drop;
  }
}
table ip routerd2 { chain arriving { type filter hook input priority 0; accept comment "routerd"; }; }
table inet routerd { chain forward { type filter hook forward priority 0; policy drop; }; }
END
for program in iptables-nft iptables-legacy; do
  $program -A INPUT -i lo -j ACCEPT
  $program -A INPUT -p icmp -j ACCEPT
  $program -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
  $program -A INPUT -p tcp --dport 22 -m comment --comment routerd2 -j ACCEPT
  $program -A INPUT -p tcp --dport 23 -m comment --comment 'routerd accept input' -j ACCEPT
  $program -A FORWARD -m comment --comment 'not routerd' -s 192.0.2.1 -j ACCEPT
done
iptables-nft -A INPUT -j REJECT --reject-with icmp-host-prohibited
iptables-nft -A FORWARD -j REJECT --reject-with icmp-host-prohibited
iptables-legacy -P INPUT DROP
iptables-legacy -P FORWARD DROP
"""
FOREIGN = """
ip rule add from 10.66.0.0/16 lookup 100 priority 1000
ip route add 10.50.0.0/16 via 10.1.0.9 table 100
ip route add 10.50.0.0/16 via 10.1.0.9 metric 100 proto static
ip route add 10.50.0.0/16 via 10.1.0.9 metric 300 proto 186
"""
FOREIGN_DEVICES = """
ip link add samtFOREIGN0001 type ipip local 10.1.0.1 remote 10.1.0.99
ip link set samtFOREIGN0001 alias 'not routerd:TunnelInterface/t'
ip link add samtFOREIGN0002 type gre local 10.1.0.1 remote 10.1.0.98 key 7
ip link add wg-other type wireguard
wg set wg-other listen-port 7777 private-key /run/other.key
ip addr add 10.7.0.1/24 dev wg-other; ip link set wg-other up
ip fou add port 5556 ipproto 4
""" if KERNEL else "ip link add samtFOREIGN0001 type bridge\n"  # fmt: skip
FAR = """
ip -n far addr add 10.77.0.5/32 dev lo
ip -n far link add f-ipip type ipip local 10.1.0.2 remote 10.1.0.1
ip -n far link add f-gre type gre local 10.1.0.2 remote 10.1.0.1
ip netns exec far ip fou add port 5555 ipproto 4
ip -n far link add f-fou type ipip local 10.1.0.3 remote 10.1.0.1 encap fou encap-sport 5555 encap-dport 5555
ip -n far link add f-wg type wireguard
ip netns exec far wg set f-wg listen-port 51821 private-key /run/far.key \
  peer "$(wg pubkey </run/here.key)" endpoint 10.1.0.1:51820 allowed-ips 10.8.0.1/32
ip -n far addr add 10.9.1.2/24 dev f-ipip; ip -n far addr add 10.9.2.2/24 dev f-gre
ip -n far addr add 10.9.3.2/24 dev f-fou; ip -n far addr add 10.8.0.2/24 dev f-wg
for name in f-ipip f-gre f-fou f-wg; do ip -n far link set $name up; done
ip -n far route add 10.2.0.0/24 dev f-gre src 10.77.0.5
"""


def build() -> None:
    for name in ("here", "far", "other"):
        sh(f"umask 077; wg genkey >/run/{name}.key")
    if KERNEL:
        # Their own devices appear with the modules: tunl0, gre0, gretap0, erspan0.
        sh("modprobe -a ipip ip_gre fou wireguard")
    for script in (HOST, FILTERS, FOREIGN, FOREIGN_DEVICES, FAR if KERNEL else ""):
        sh(f"set -e\n{script}")
    if KERNEL:
        assert {"tunl0", "gre0", "gretap0", "erspan0"} <= {each["ifname"] for each in links()}


def snapshot() -> dict[str, str]:
    """Return everything that routerd may touch, without counters, times and rules' handles."""
    commands = {
        "links": "ip -d link",
        "addresses": "ip addr",
        "routes": "ip route show table all; ip -6 route show table all",
        "rules": "ip rule; ip -6 rule",
        "nftables": "nft -s list ruleset",
        "iptables-nft": "iptables-save | grep -v '^#'",
        "iptables-legacy": "iptables-legacy-save | grep -v '^#'",
        "settings": "sysctl -a 2>/dev/null | grep ^net | grep -v nf_conntrack_count",
        "wireguard": "wg show wg-other",
        "fou": "ip fou show",
    }
    if not KERNEL:
        del commands["wireguard"], commands["fou"]
    return {name: re.sub(r"\[\d+:\d+\]", "", sh(command)) for name, command in commands.items()}


def difference(one: dict[str, str], other: dict[str, str]) -> str:
    lines = {name: (text.splitlines(), other[name].splitlines()) for name, text in one.items()}
    return "\n".join(
        f"{name}: {sign}{line}"
        for name, (first, second) in lines.items()
        for sign, here, there in (("-", first, second), ("+", second, first))
        for line in here
        if line not in there
    )


def links() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(sh("ip -d -j link"))
    return found


def sh(command: str) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
