"""A WireGuard device as both backends read and set it."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Protocol

import attrs

from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import Endpoint

REJECT_AFTER = 180
"""Seconds after which a session without a new handshake carries nothing (REJECT_AFTER_TIME)."""

NO_PRESHARED_KEY = bytes(32)
"""A preshared key of zeros is none: the protocol always mixes one in."""


@attrs.frozen(kw_only=True)
class PeerDump:
    """A peer as the device reports it; `last_handshake` is in seconds since the epoch, 0 for none.

    `preshared_key` is a secret: it is compared and never shown.
    """

    allowed_ips: frozenset[IPv4Network] = frozenset()
    endpoint: Endpoint | None = None
    keepalive: int = 0
    last_handshake: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    preshared_key: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class DeviceDump:
    """A device as it reports itself; `public_key` is none while it has no private key."""

    public_key: PublicKey | None
    listen_port: int
    peers: Mapping[PublicKey, PeerDump] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class PeerSetting:
    """What is set of one peer. The allowed IPs are replaced; what is none stays as it is.

    `NO_PRESHARED_KEY` takes a preshared key away.
    """

    public_key: PublicKey
    remove: bool = False
    allowed_ips: frozenset[IPv4Network] = frozenset()
    endpoint: Endpoint | None = None
    keepalive: int = 0
    preshared_key: bytes | None = attrs.field(default=None, repr=False)


class DevicePort(Protocol):
    """Reads and sets devices of one backend. Every method may raise `ProviderError`."""

    async def read(self, link: LinkName) -> DeviceDump | None:
        """Return the device, or none when this backend has none of that name."""
        ...

    async def configure(self, link: LinkName, *, private_key: bytes | None, listen_port: int | None) -> None:
        """Set the private key and the port; what is none stays as it is."""
        ...

    async def set_peer(self, link: LinkName, peer: PeerSetting) -> None:
        """Create, change or remove one peer; other peers keep their sessions."""
        ...
