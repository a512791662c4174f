"""The transport family: tunnels between routers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import PeerKey, PeerState, Tunnel, TunnelState, WireGuardPeer
from routerd.spi.provider import Lifecycle
from routerd.spi.table import Table


class Transport(Lifecycle, Protocol):
    """Makes tunnels of one mode, the provider's kind."""

    @property
    def tunnels(self) -> Table[LinkName, Tunnel]:
        """Return the table of our tunnels of this mode."""

    def overhead(self, tunnel: Tunnel) -> int:
        """Return the number of bytes that the encapsulation adds to a packet."""

    async def states(self) -> Sequence[TunnelState]:
        """Return the state of each tunnel, with its backend."""


class EncryptingTransport(Transport, Protocol):
    """A transport with `Capability.ENCRYPTS`: its tunnels have peers and keys."""

    @property
    def peers(self) -> Table[PeerKey, WireGuardPeer]:
        """Return the table of peers on our own devices."""

    async def peer_states(self) -> Sequence[PeerState]:
        """Return the state of each peer."""

    async def public_key(self, private_key_file: Path) -> PublicKey:
        """Return the public key; make a missing private key (0600, directory 0700) first.

        The provider never rewrites an existing file. In a dry run a missing file is a `TransientError`.
        """
