"""A WireGuard device as a value, for both backends."""

import errno
import os
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Protocol

import attrs

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import Endpoint

REJECT_AFTER = 180
"""Seconds from a handshake to the end of its session (REJECT_AFTER_TIME)."""

NO_PRESHARED_KEY = bytes(32)
"""The key of a peer without a preshared key; the protocol always mixes one in."""


@attrs.frozen(kw_only=True)
class PeerDump:
    """A peer as the device reports it; `last_handshake` is in seconds since the epoch, 0 for none.

    `preshared_key` is a secret; routerd compares it and never shows it.
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
    """A device as it reports itself; without a private key `public_key` is none."""

    public_key: PublicKey | None
    listen_port: int
    peers: Mapping[PublicKey, PeerDump] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class PeerSetting:
    """New settings of one peer. They replace the allowed IPs; a field without a value stays as it is.

    `NO_PRESHARED_KEY` removes a preshared key.
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
        """Return the device of that name, or none."""

    async def configure(self, link: LinkName, *, private_key: bytes | None, listen_port: int | None) -> None:
        """Set the private key and the port; an argument without a value stays as it is."""

    async def set_peer(self, link: LinkName, peer: PeerSetting) -> None:
        """Create, change or remove one peer; other peers keep their sessions."""


def refusal(link: LinkName, code: int) -> ProviderError:
    """Return our error for the errno with which a device refuses a request."""
    text = f"wireguard {link}: {os.strerror(code).lower()} ({errno.errorcode.get(code, code)})"
    if code == errno.EPERM:
        return PermanentError(f"{text}; give routerd CAP_NET_ADMIN")
    if code == errno.EADDRINUSE:
        return TransientError(f"{text}; another program has the port; find it with `ss -lunp`")
    return PermanentError(text) if code == errno.EINVAL else TransientError(text)
