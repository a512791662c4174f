"""What both backends are put through: devices, peers, and the suite with them. Not a test itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from routerd.model.change import Change
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import Endpoint, PeerKey, Tunnel, WireGuardDevice, WireGuardPeer
from routerd.spi import EncryptingTransport, Link
from routerd.testing.contracts import Foreign, Samples
from routerd_transport_wireguard.keys import ensure_private_key, public_key_of

WG = LinkName("wg-a")
OWNER = "WireGuardInterface/wg-a"


def tunnel(
    directory: Path,
    name: str = WG,
    *,
    port: int | None = 51820,
    address: str = "10.20.0.1/32",
    mtu: int = 1420,
    key: str = "",
) -> Tunnel:
    """Return a device whose private key is made in `directory`."""
    file = directory / "keys" / f"{key or name}.key"
    return Tunnel(
        link=LinkName(name),
        mode="wireguard",
        owner=f"WireGuardInterface/{name}",
        mtu=mtu,
        addresses=(IPv4Interface(address),),
        ttl=0,
        wireguard=WireGuardDevice(
            public_key=public_key_of(ensure_private_key(file)), listen_port=port, private_key_file=file
        ),
    )


def public_key(number: int) -> PublicKey:
    return PublicKey(base64.b64encode(number.to_bytes(32, "big")).decode())


def peer_key(number: int, link: str = WG) -> PeerKey:
    return PeerKey(link=LinkName(link), public_key=public_key(number))


def peer(*networks: str, endpoint: str = "", keepalive: int = 0) -> WireGuardPeer:
    return WireGuardPeer(
        allowed_ips=frozenset(map(IPv4Network, networks)),
        endpoint=Endpoint(address=IPv4Address(endpoint), port=51820) if endpoint else None,
        keepalive=keepalive,
    )


def created(tunnel: Tunnel) -> Change[LinkName, Tunnel]:
    return Change(key=tunnel.link, before=None, after=tunnel)


def samples(directory: Path, foreign: Foreign[LinkName, Tunnel] | None) -> Mapping[str, Samples[Any, Any]]:
    """Return the samples of `EncryptingTransportContract`."""
    first = tunnel(directory)
    second = tunnel(directory, "wg-b", port=51821, address="10.21.0.1/32")

    async def prepare(made: EncryptingTransport) -> None:
        assert await made.tunnels.apply([created(first)]) == {}

    return {
        "tunnels": Samples(
            values={first.link: first, second.link: second},
            replacement={first.link: tunnel(directory, port=51900, address="10.20.0.9/32", mtu=1380)},
            refused={
                LinkName("wg-none"): Tunnel(link=LinkName("wg-none"), mode="wireguard", owner=OWNER, mtu=1420)
            },
            foreign=foreign,
        ),
        "peers": Samples(
            values={
                peer_key(1): peer("10.20.0.2/32", "10.255.16.2/32", endpoint="127.0.0.9", keepalive=25),
                peer_key(2): peer("10.20.0.3/32"),
            },
            replacement={peer_key(1): peer("10.20.0.2/32", endpoint="127.0.0.9", keepalive=15)},
            refused={PeerKey(link=WG, public_key=PublicKey("no-key")): peer("10.20.0.4/32")},
            prepare=prepare,
        ),
    }


def foreign_link(name: str) -> Link:
    return Link(name=LinkName(name), index=77, kind="wireguard", up=True, mtu=1420, alias="somebody")
