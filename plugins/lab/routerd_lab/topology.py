"""The four sites of the full-mesh fabric as values: names, addresses, wires. No I/O.

Private addresses and names are those of the recorded live test; public ones come from the
documentation ranges (RFC 5737), the links into the emulated internet from the benchmark range
(RFC 2544), so that nothing here can be mistaken for, or reach, a real machine.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import permutations
from typing import Literal

import attrs

METADATA_ADDRESS = IPv4Address("169.254.169.254")
"""The address at which every cloud answers an instance's questions about itself."""

INTERNET = "internet"
"""Name of the namespace between the sites."""

UPLINK = "uplink"
"""Name of a fabric's device towards the internet."""

PUBLIC_RANGES = tuple(IPv4Network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"))
"""The prefixes that the emulated internet carries; it drops anything else, private addresses above all."""

Role = Literal["rr", "leaf", "client"]
Cloud = Literal["aws", "azure", "oci", "pve"]


@attrs.frozen(kw_only=True)
class Nic:
    """A network interface of a node and the wire behind it.

    `port` is the fabric's end of the wire. `public` is the address that the cloud maps one to
    one to this NIC. Only the NIC with a `gateway` has the default route.
    """

    device: str
    port: str
    address: IPv4Interface
    gateway: IPv4Address | None = None
    public: IPv4Address | None = None
    bridge: str = ""


@attrs.frozen(kw_only=True)
class Node:
    """A machine: a router that runs routerd, or a client without routerd.

    `owned` is the address that the fabric carries for it (clients only). `vmid` is the guest's
    number where the site is a Proxmox VE host.
    """

    name: str
    role: Role
    nics: tuple[Nic, ...]
    owned: IPv4Address | None = None
    vmid: int = 0

    @property
    def primary(self) -> Nic:
        """Return the NIC with the default route."""
        return next(nic for nic in self.nics if nic.gateway is not None)

    @property
    def is_router(self) -> bool:
        """Say whether the node runs routerd."""
        return self.role != "client"


@attrs.frozen(kw_only=True)
class Site:
    """A cloud network or a home: its nodes, and the fabric namespace that wires them.

    `network` is the cloud network as a whole, `subnet` the part in which the nodes are. `public`
    is the part of a documentation range that the internet routes here. `api` is where the cloud's
    API answers. `masquerade` is the one public address of a site behind NAT.
    """

    name: Cloud
    network: IPv4Network
    subnet: IPv4Network
    gateway: IPv4Address
    public: IPv4Network
    uplink: IPv4Interface
    upstream: IPv4Interface
    api: IPv4Address
    nodes: tuple[Node, ...]
    masquerade: IPv4Address | None = None

    @property
    def fabric(self) -> str:
        """Return the name of the site's fabric namespace."""
        return f"{self.name}-fabric"

    @property
    def client(self) -> Node:
        """Return the site's client."""
        return next(node for node in self.nodes if node.role == "client")

    @property
    def leaf(self) -> Node:
        """Return the site's leaf."""
        return next(node for node in self.nodes if node.role == "leaf")


@attrs.frozen(kw_only=True)
class Wan:
    """A private network of a carrier between routers of several sites: one Ethernet.

    `members` are the routers' addresses on it by node, `device` is their NIC towards it.
    """

    name: str
    device: str
    members: Mapping[str, IPv4Interface]


@attrs.frozen(kw_only=True)
class Topology:
    """All sites, in the order in which the screen shows them.

    `configs` names the example that a router is configured by, where it is not that of the
    fabric `fullmesh`.
    """

    name: str
    sites: tuple[Site, ...]
    wans: tuple[Wan, ...] = ()
    configs: Mapping[str, str] = attrs.field(factory=dict)

    def nodes(self) -> Iterator[tuple[Site, Node]]:
        """Yield every node with its site."""
        for site in self.sites:
            for node in site.nodes:
                yield site, node

    @property
    def routers(self) -> tuple[Node, ...]:
        """Return the nodes that run routerd, route reflectors first."""
        found = [node for _, node in self.nodes() if node.is_router]
        return tuple(sorted(found, key=lambda node: node.role != "rr"))

    @property
    def leaves(self) -> tuple[Node, ...]:
        """Return the leaves in the order of the sites."""
        return tuple(site.leaf for site in self.sites)

    @property
    def clients(self) -> tuple[Node, ...]:
        """Return the clients in the order of the sites."""
        return tuple(site.client for site in self.sites)

    @property
    def pairs(self) -> tuple[tuple[Node, Node], ...]:
        """Return the directed pairs of clients."""
        return tuple(permutations(self.clients, 2))

    def site_of(self, node: str) -> Site:
        """Return the site of a node; raises `KeyError` if the node does not exist."""
        for site, member in self.nodes():
            if member.name == node:
                return site
        raise KeyError(node)

    def remote_prefixes(self, site: Site) -> tuple[IPv4Network, ...]:
        """Return the host routes that a site must learn: every client elsewhere."""
        return tuple(
            IPv4Network(other.client.owned)
            for other in self.sites
            if other is not site and other.client.owned is not None
        )


def _nic(device: str, port: str, address: str, gateway: str, public: str = "", bridge: str = "") -> Nic:
    return Nic(
        device=device,
        port=port,
        address=IPv4Interface(address),
        gateway=IPv4Address(gateway) if gateway else None,
        public=IPv4Address(public) if public else None,
        bridge=bridge,
    )


AZURE = Site(
    name="azure",
    network=IPv4Network("10.82.0.0/16"),
    subnet=IPv4Network("10.82.10.0/24"),
    gateway=IPv4Address("10.82.10.1"),
    public=IPv4Network("203.0.113.0/24"),
    uplink=IPv4Interface("198.18.0.2/30"),
    upstream=IPv4Interface("198.18.0.1/30"),
    api=IPv4Address("203.0.113.10"),
    nodes=(
        Node(
            name="routerd-fullmesh-rr",
            role="rr",
            nics=(_nic("eth0", "to-rr", "10.82.10.5/24", "10.82.10.1", "203.0.113.147"),),
        ),
        Node(
            name="azure-leaf",
            role="leaf",
            nics=(_nic("eth0", "to-leaf", "10.82.10.10/24", "10.82.10.1", "203.0.113.131"),),
        ),
        Node(
            name="azure-client",
            role="client",
            nics=(_nic("eth0", "to-client", "10.82.10.20/24", "10.82.10.1"),),
            owned=IPv4Address("10.82.10.20"),
        ),
    ),
)

AWS = Site(
    name="aws",
    network=IPv4Network("10.81.0.0/16"),
    subnet=IPv4Network("10.81.10.0/24"),
    gateway=IPv4Address("10.81.10.1"),
    public=IPv4Network("198.51.100.0/24"),
    uplink=IPv4Interface("198.18.0.6/30"),
    upstream=IPv4Interface("198.18.0.5/30"),
    api=IPv4Address("198.51.100.10"),
    nodes=(
        Node(
            name="aws-leaf",
            role="leaf",
            nics=(_nic("ens5", "to-leaf", "10.81.10.10/24", "10.81.10.1", "198.51.100.59"),),
        ),
        Node(
            name="aws-client",
            role="client",
            nics=(_nic("ens5", "to-client", "10.81.10.20/24", "10.81.10.1"),),
            owned=IPv4Address("10.81.10.20"),
        ),
    ),
)

OCI = Site(
    name="oci",
    network=IPv4Network("10.83.0.0/16"),
    subnet=IPv4Network("10.83.10.0/24"),
    gateway=IPv4Address("10.83.10.1"),
    public=IPv4Network("192.0.2.0/25"),
    uplink=IPv4Interface("198.18.0.10/30"),
    upstream=IPv4Interface("198.18.0.9/30"),
    api=IPv4Address("192.0.2.10"),
    nodes=(
        Node(
            name="oci-leaf",
            role="leaf",
            nics=(_nic("ens3", "to-leaf", "10.83.10.10/24", "10.83.10.1", "192.0.2.93"),),
        ),
        Node(
            name="oci-client",
            role="client",
            nics=(_nic("ens3", "to-client", "10.83.10.20/24", "10.83.10.1"),),
            owned=IPv4Address("10.83.10.20"),
        ),
    ),
)

PVE = Site(
    # A Proxmox VE host in a home: vmbr0 is the home's LAN behind NAT, vmbr1 the site's own bridge.
    # The clients' default route is the home router's, so that only in-guest routes lead to the leaf.
    name="pve",
    network=IPv4Network("10.99.9.0/24"),
    subnet=IPv4Network("10.99.9.0/24"),
    gateway=IPv4Address("192.168.1.1"),
    public=IPv4Network("192.0.2.128/25"),
    uplink=IPv4Interface("198.18.0.14/30"),
    upstream=IPv4Interface("198.18.0.13/30"),
    api=IPv4Address("192.168.1.2"),
    masquerade=IPv4Address("192.0.2.200"),
    nodes=(
        Node(
            name="pve-leaf",
            role="leaf",
            vmid=100,
            nics=(
                _nic("ens18", "tap100i0", "192.168.1.43/24", "192.168.1.1", bridge="vmbr0"),
                _nic("ens19", "tap100i1", "10.99.9.1/24", "", bridge="vmbr1"),
            ),
        ),
        Node(
            name="pve-client",
            role="client",
            vmid=101,
            nics=(
                _nic("ens18", "tap101i0", "192.168.1.47/24", "192.168.1.1", bridge="vmbr0"),
                _nic("ens19", "tap101i1", "10.99.9.10/24", "", bridge="vmbr1"),
            ),
            owned=IPv4Address("10.99.9.10"),
        ),
    ),
)

FULLMESH = Topology(name="fullmesh", sites=(AWS, AZURE, OCI, PVE))
"""One route reflector, four leaves, four clients: the topology of the recorded live test."""

MIXED = Topology(
    name="mixed",
    sites=FULLMESH.sites,
    wans=(
        Wan(
            name="private-wan",
            device="wan0",
            members={
                "routerd-fullmesh-rr": IPv4Interface("10.30.0.10/24"),
                "azure-leaf": IPv4Interface("10.30.0.22/24"),
                "oci-leaf": IPv4Interface("10.30.0.23/24"),
            },
        ),
    ),
    configs={
        "routerd-fullmesh-rr": "mixed-rr.yaml",
        "azure-leaf": "mixed-leaf-azure.yaml",
        "oci-leaf": "mixed-leaf-oci.yaml",
    },
)
"""The same machines in a fabric of three tunnels: ipip in WireGuard, and fou and gre on a private WAN."""

TOPOLOGIES = {topology.name: topology for topology in (FULLMESH, MIXED)}
