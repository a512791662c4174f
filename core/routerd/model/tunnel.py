"""Tunnels and WireGuard peers, as desired and as observed.

One value serves every encapsulation, so that the engine, the status and the dry run need to
know none of them. Which fields a mode uses is said in each field.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import attrs

from routerd.model.names import LinkName, PublicKey


@attrs.frozen(kw_only=True, order=True)
class UdpEncapsulation:
    """UDP ports of foo-over-UDP: `sport` is ours (and listened on), `dport` the peer's."""

    sport: int
    dport: int


@attrs.frozen(kw_only=True)
class WireGuardDevice:
    """What a WireGuard device has beyond a link; the private key itself never leaves its file."""

    public_key: PublicKey
    listen_port: int | None
    private_key_file: Path | None = attrs.field(default=None, eq=False)


@attrs.frozen(kw_only=True)
class Tunnel:
    """A tunnel device. `mode` equals the kind of the transport provider that makes it.

    `local` and `remote` are the outer addresses (none for `wireguard`), `addresses` the inner
    ones, `mtu` the size in bytes of the largest inner packet, `ttl` the outer TTL, `key` the GRE
    key. `owner` is the `Kind/name` of the resource that asked for the tunnel; it is what the
    interface alias `routerd:<owner>` carries.
    """

    link: LinkName
    mode: str
    owner: str
    mtu: int
    addresses: tuple[IPv4Interface, ...] = ()
    local: IPv4Address | None = None
    remote: IPv4Address | None = None
    ttl: int = 64
    key: int | None = None
    encapsulation: UdpEncapsulation | None = None
    wireguard: WireGuardDevice | None = None


@attrs.frozen(kw_only=True, order=True)
class PeerKey:
    """Key of a WireGuard peer: the device and the peer's public key."""

    link: LinkName
    public_key: PublicKey


@attrs.frozen(kw_only=True, order=True)
class Endpoint:
    """A UDP endpoint."""

    address: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@attrs.frozen(kw_only=True)
class WireGuardPeer:
    """A WireGuard peer.

    `endpoint` is where we send first. It takes no part in comparison, because a peer that roams
    (behind NAT) has another one in the kernel than in the configuration and that is right.
    `keepalive` is in seconds, 0 for off. `allowed_ips` hold transport addresses only, never a
    mobility /32. `alive` says of an observed peer that it was heard from lately.
    """

    allowed_ips: frozenset[IPv4Network]
    endpoint: Endpoint | None = attrs.field(default=None, eq=False)
    keepalive: int = 0
    preshared_key_file: Path | None = attrs.field(default=None, eq=False)
    alive: bool = attrs.field(default=False, eq=False)


@attrs.frozen(kw_only=True)
class TunnelState:
    """How a tunnel does, for the status; never compared with what is desired.

    `backend` is `kernel` or the name of a userspace program. `last_handshake` is in seconds
    since the epoch, 0 when there was none; bytes count inner packets.
    """

    link: LinkName
    backend: str
    up: bool
    rx_bytes: int = 0
    tx_bytes: int = 0
    note: str = ""


@attrs.frozen(kw_only=True)
class PeerState:
    """How a WireGuard peer does, for the status."""

    key: PeerKey
    endpoint: Endpoint | None
    last_handshake: int
    rx_bytes: int
    tx_bytes: int
