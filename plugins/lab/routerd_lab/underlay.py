"""Wires, addresses and routes below the fabric, as commands; and the internet between the sites.

Everything here is what a cloud or a home provides without any API call: a NIC with an address, a
gateway, a public address. What the cloud's API decides is in `enforce`.
"""

from collections.abc import Iterable, Mapping

from routerd_lab.topology import (
    INTERNET,
    METADATA_ADDRESS,
    PUBLIC_RANGES,
    UPLINK,
    Nic,
    Node,
    Site,
    Topology,
    Wan,
)

FABRIC_SYSCTLS: Mapping[str, str] = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    # A cloud network is not an Ethernet: the fabric answers every ARP request with itself.
    "net/ipv4/conf/default/proxy_arp": "1",
    "net/ipv4/ip_unprivileged_port_start": "0",
    # A bridge is only a wire here; firewall rules apply to routed packets.
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
"""Settings of the sites' fabrics and of the internet."""

NODE_SYSCTLS: Mapping[str, str] = {
    # sshd runs without privileges in a user namespace of its own and still answers on port 22.
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
"""Settings of routers and clients. Forwarding is off, as on a fresh machine: that is routerd's job."""

_HOME_BRIDGE = "vmbr0"


def wires(topology: Topology) -> list[tuple[str, str, str, str]]:
    """Return every wire as (machine, device, machine, device)."""
    found: list[tuple[str, str, str, str]] = [
        (site.fabric, UPLINK, INTERNET, site.name) for site in topology.sites
    ]
    found += [
        (site.fabric, nic.port, node.name, nic.device) for site, node in topology.nodes() for nic in node.nics
    ]
    found += [
        (wan.name, _wan_port(number), node, wan.device)
        for wan in topology.wans
        for number, node in enumerate(wan.members)
    ]
    return found


def _wan_port(number: int) -> str:
    return f"port{number}"


def wan_commands(wan: Wan) -> list[str]:
    """Return the `ip` commands for a carrier's network: a bridge, as far as its customers can tell."""
    lines = ["link set lo up", "link add wan type bridge forward_delay 0 stp_state 0", "link set wan up"]
    for number in range(len(wan.members)):
        port = _wan_port(number)
        lines += [f"link set {port} master wan", f"link set {port} up"]
    return lines


def wire_commands(topology: Topology, holders: Mapping[str, int]) -> list[str]:
    """Return the `ip` commands that lay all wires between machines given by their holders."""
    return [
        f"link add {device} netns {holders[one]} type veth peer name {peer} netns {holders[other]}"
        for one, device, other, peer in wires(topology)
    ]


def node_commands(node: Node, wans: Iterable[Wan] = ()) -> list[str]:
    """Return the `ip` commands for a node's own addresses and default route."""
    lines = ["link set lo up"]
    for nic in node.nics:
        lines += [f"address add {nic.address} dev {nic.device}", f"link set {nic.device} up"]
        if nic.gateway is not None:
            lines.append(f"route add default via {nic.gateway} dev {nic.device} src {nic.address.ip}")
    for wan in wans:
        if node.name in wan.members:
            address = wan.members[node.name]
            lines += [f"address add {address} dev {wan.device}", f"link set {wan.device} up"]
    return lines


def fabric_commands(site: Site) -> list[str]:
    """Return the `ip` commands for a site's fabric, without anything that its API decides."""
    lines = ["link set lo up", f"link set {UPLINK} up", f"address add {site.uplink} dev {UPLINK}"]
    lines.append(f"address add {site.api}/32 dev lo")
    nics = [nic for node in site.nodes for nic in node.nics]
    lines += _home_commands(site, nics) if site.masquerade else _cloud_commands(site, nics)
    return [*lines, f"route add default via {site.upstream.ip} dev {UPLINK}"]


def fabric_sysctls(site: Site) -> list[str]:
    """Return the settings of a fabric's own devices, as arguments of `sysctl -w`."""
    if site.masquerade:
        return []
    # The kernel delays proxied answers by up to 0.8 s, unless each device has another setting.
    return [f"net.ipv4.neigh.{nic.port}.proxy_delay=0" for node in site.nodes for nic in node.nics]


def _cloud_commands(site: Site, nics: Iterable[Nic]) -> list[str]:
    """Make a cloud's fabric: a router with one port for each NIC."""
    lines = [f"address add {site.gateway}/32 dev lo", f"address add {METADATA_ADDRESS}/32 dev lo"]
    for nic in nics:
        lines += [f"link set {nic.port} up", f"route add {nic.address.ip}/32 dev {nic.port}"]
    return lines


def _home_commands(site: Site, nics: Iterable[Nic]) -> list[str]:
    """Make a home: guests on bridges, and a router with NAT on the first of them."""
    members = list(nics)
    lines = [f"address add {site.masquerade}/32 dev lo"]
    for bridge in sorted({nic.bridge for nic in members}):
        lines += [f"link add {bridge} type bridge forward_delay 0 stp_state 0", f"link set {bridge} up"]
    lines += [
        command
        for nic in members
        for command in (f"link set {nic.port} master {nic.bridge}", f"link set {nic.port} up")
    ]
    lan = next(nic.address.network for nic in members if nic.bridge == _HOME_BRIDGE)
    return [*lines, f"address add {site.gateway}/{lan.prefixlen} dev {_HOME_BRIDGE}"]


def internet_commands(topology: Topology) -> list[str]:
    """Return the `ip` commands for the internet: public prefixes and nothing else."""
    lines = ["link set lo up"]
    for site in topology.sites:
        lines += [
            f"address add {site.upstream} dev {site.name}",
            f"link set {site.name} up",
            f"route add {site.public} via {site.uplink.ip} dev {site.name}",
        ]
    return lines


def internet_rules() -> str:
    """Return the nft script that drops and counts every packet that is not from and to a public address."""
    ranges = ", ".join(str(network) for network in PUBLIC_RANGES)
    return f"""
table ip lab_internet {{
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ip saddr {{ {ranges} }} ip daddr {{ {ranges} }} counter accept
        counter comment "private addresses"
    }}
}}
"""


def public_rules(site: Site) -> str:
    """Return the nft script for public addresses: one to one in a cloud, hidden behind one at home.

    A cloud's mapping keeps no state, so that both ends of a flow may speak first.
    """
    if site.masquerade:
        return f"""
table ip lab_public {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{UPLINK}" ip saddr 192.168.0.0/16 snat to {site.masquerade}
    }}
}}
"""
    pairs = [(nic.address.ip, nic.public) for node in site.nodes for nic in node.nics if nic.public]
    outward = ", ".join(f"{private} : {public}" for private, public in pairs)
    inward = ", ".join(f"{public} : {private}" for private, public in pairs)
    return f"""
table ip lab_public {{
    chain prerouting {{
        type filter hook prerouting priority raw; policy accept;
        iifname "{UPLINK}" ip daddr set ip daddr map {{ {inward} }}
    }}
    chain postrouting {{
        type filter hook postrouting priority srcnat; policy accept;
        oifname "{UPLINK}" ip saddr set ip saddr map {{ {outward} }}
    }}
}}
"""


ORACLE_IMAGE_RULES = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p udp --sport 123 -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
"""
"""The file /etc/iptables/rules.v4 of Oracle's Ubuntu image; a router on it must add its own ACCEPT."""
