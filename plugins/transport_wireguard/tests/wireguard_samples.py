"""Devices and peers for the tests of every backend. Not a test itself."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import cryptography  # noqa: F401 - a key costs these tests no process

from routerd.model.change import Change
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import Endpoint, PeerKey, Tunnel, WireGuardDevice, WireGuardPeer
from routerd.spi import EncryptingTransport
from routerd.testing.contracts import Foreign, Samples
from routerd_transport_wireguard.keys import ensure_private_key, public_key_of

WG, WG2 = LinkName("wg-a"), LinkName("wg-b")
FIRST = Endpoint(address=IPv4Address("127.0.0.9"), port=51820)
SECOND = Endpoint(address=IPv4Address("127.0.0.10"), port=51821)


def tunnel(
    directory: Path,
    name: str = WG,
    *,
    port: int | None = 51820,
    address: str = "10.20.0.1/32",
    key: str = "",
    **changes: Any,
) -> Tunnel:
    """Return a device whose private key is made in `directory`."""
    file = directory / "keys" / f"{key or name}.key"
    made = Tunnel(
        link=LinkName(name),
        mode="wireguard",
        owner=f"WireGuardInterface/{name}",
        mtu=1420,
        addresses=(IPv4Interface(address),),
        ttl=0,
        wireguard=WireGuardDevice(
            public_key=public_key_of(ensure_private_key(file)), listen_port=port, private_key_file=file
        ),
    )
    return attrs.evolve(made, **changes)


def peer_key(number: int) -> PublicKey:
    return public_key_of(number.to_bytes(31, "big").rjust(31) + b"\x40")


def of(number: int, link: str = WG) -> PeerKey:
    return PeerKey(link=LinkName(link), public_key=peer_key(number))


def peer(*networks: str, **changes: Any) -> WireGuardPeer:
    return attrs.evolve(WireGuardPeer(allowed_ips=frozenset(map(IPv4Network, networks))), **changes)


def to(key: Any, after: Any, before: Any = None) -> Change[Any, Any]:
    return Change(key=key, before=before, after=after)


def created(*tunnels: Tunnel) -> list[Change[LinkName, Tunnel]]:
    return [to(each.link, each) for each in tunnels]


def samples(directory: Path, foreign: Foreign[LinkName, Tunnel]) -> Mapping[str, Samples[Any, Any]]:
    """Return the samples of `EncryptingTransportContract`."""
    first = tunnel(directory)
    second = tunnel(directory, WG2, port=51821, address="10.21.0.1/32")
    long = LinkName("w" * 16)

    async def prepare(made: EncryptingTransport) -> None:
        assert await made.tunnels.apply(created(first, second)) == {}

    return {
        "tunnels": Samples(
            values={first.link: first, second.link: second},
            replacement={WG: tunnel(directory, port=51900, address="10.20.0.9/30", mtu=1380, key="other")},
            refused={long: tunnel(directory, long)},
            foreign=foreign,
        ),
        "peers": Samples(
            values={
                of(1): peer("10.20.0.2/32", "10.255.16.2/32", endpoint=FIRST, keepalive=25),
                of(2): peer("10.20.0.3/32"),
                of(1, WG2): peer("10.20.0.2/32"),
            },
            replacement={
                of(1): peer("10.20.0.2/32", endpoint=FIRST, keepalive=15),
                of(2): peer("10.20.0.3/32", "10.255.16.2/32"),
            },
            refused={PeerKey(link=WG, public_key=PublicKey("no-key")): peer("10.20.0.4/32")},
            prepare=prepare,
        ),
    }
