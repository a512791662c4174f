"""Tunnels and WireGuard peers, as desired and as observed.

One value serves every encapsulation, so the engine, the status and the dry run depend on none.
"""

from pathlib import Path

import attrs

from routerd.model.addresses import IPAddress, IPInterface, IPNetwork, order
from routerd.model.names import LinkName, PublicKey


@attrs.frozen(kw_only=True, order=True)
class UdpEncapsulation:
    """UDP ports of foo-over-UDP: `sport` is our listening port, `dport` the peer's."""

    sport: int
    dport: int


@attrs.frozen(kw_only=True, order=True)
class Opening:
    """Packets of a tunnel that the host's packet filter must let in.

    `protocol` is `udp`, `tcp` or the number of another IP protocol as text (`4`, `47`); `port` is the
    destination port of UDP or TCP. The core adds the source: the far end of the tunnel, if it has one.
    """

    protocol: str
    port: int = 0


@attrs.frozen(kw_only=True)
class WireGuardDevice:
    """The part of an encrypting device beyond its link; the private key never leaves its file.

    `public_key` is empty as long as the key file has not been read.
    """

    public_key: PublicKey
    listen_port: int | None
    private_key_file: Path | None = attrs.field(default=None, eq=False)


@attrs.frozen(kw_only=True)
class Tunnel:
    """A tunnel device. `mode` equals the kind of the transport provider that makes it.

    `local` and `remote` are the outer addresses (none for an encrypting device), `addresses` the inner
    ones, `mtu` the size in bytes of the largest inner packet, `ttl` the outer TTL, `key` the 32-bit key
    of a mode that takes one. `options` is an instance of the class that the transport declares in
    `TransportMode.tunnel`, none for a transport without options. `owner` is the `Kind/name` of the
    resource that wants the tunnel; the interface alias `routerd:<owner>` carries it.
    """

    link: LinkName
    mode: str
    owner: str
    mtu: int
    addresses: tuple[IPInterface, ...] = ()
    local: IPAddress | None = None
    remote: IPAddress | None = None
    ttl: int = 64
    key: int | None = None
    encapsulation: UdpEncapsulation | None = None
    wireguard: WireGuardDevice | None = None
    options: object = None


@attrs.frozen(kw_only=True, order=True)
class PeerKey:
    """Key of a WireGuard peer: the device and the peer's public key."""

    link: LinkName
    public_key: PublicKey


@attrs.frozen(kw_only=True, order=True)
class Endpoint:
    """A UDP endpoint."""

    address: IPAddress = attrs.field(order=order)
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@attrs.frozen(kw_only=True)
class WireGuardPeer:
    """A WireGuard peer.

    `endpoint` is the destination of our first packet. It takes no part in comparison, because the
    kernel rightly has another one for a peer that roams (behind NAT). `keepalive` is in seconds, 0
    for off. `allowed_ips` hold transport addresses only, never a mobility /32. `alive` says that an
    observed peer has sent something lately.
    """

    allowed_ips: frozenset[IPNetwork]
    endpoint: Endpoint | None = attrs.field(default=None, eq=False)
    keepalive: int = 0
    preshared_key_file: Path | None = attrs.field(default=None, eq=False)
    alive: bool = attrs.field(default=False, eq=False)


@attrs.frozen(kw_only=True)
class TunnelState:
    """The state of a tunnel, for the status only.

    `backend` is `kernel` or the name of a userspace program; bytes count inner packets.
    """

    link: LinkName
    backend: str
    up: bool
    rx_bytes: int = 0
    tx_bytes: int = 0
    note: str = ""


@attrs.frozen(kw_only=True)
class PeerState:
    """The state of a peer of an encrypting transport, for the status.

    `last_handshake` is in seconds since the epoch, 0 without one; bytes count inner packets.
    """

    key: PeerKey
    endpoint: Endpoint | None
    last_handshake: int
    rx_bytes: int
    tx_bytes: int
