"""The transport family: tunnels between routers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import attrs

from routerd.model.addresses import first_ipv6, no_ipv6
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import Opening, PeerKey, PeerState, Tunnel, TunnelState, WireGuardPeer
from routerd.spi.provider import Lifecycle, NoOptions, Provider
from routerd.spi.table import Table


class Transport(Lifecycle, Protocol):
    """Makes tunnels of one mode, the provider's kind.

    `overhead` and `openings` are pure: equal tunnels get equal answers, also before `start`. The core
    asks them in each derivation, for tunnels whose `mtu` is still 0.
    """

    @property
    def tunnels(self) -> Table[LinkName, Tunnel]:
        """Return the table of our tunnels of this mode."""

    def overhead(self, tunnel: Tunnel) -> int:
        """Return the number of bytes that the encapsulation adds to a packet."""

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        """Return the packets of the far end that the packet filter must let in, as narrow as possible.

        The core adds the source, the tunnel's `remote`. Only an encrypting device, which has no
        `remote`, gets an opening for every source.
        """

    async def states(self) -> Sequence[TunnelState]:
        """Return the state of each tunnel, with its backend."""


def check_ipv4(tunnel: Tunnel) -> None:
    """Raise `UnsupportedError` for a tunnel with an IPv6 address, for a transport that cannot make it.

    The options do not count.

    Added in 1.0.
    """
    found = first_ipv6((tunnel.local, tunnel.remote, tunnel.addresses))
    if found is not None:
        raise no_ipv6(f"tunnel {tunnel.link}", found)


class EncryptingTransport(Transport, Protocol):
    """A transport with `Capability.ENCRYPTS`: its tunnels have peers and keys."""

    @property
    def peers(self) -> Table[PeerKey, WireGuardPeer]:
        """Return the table of peers on our own devices."""

    async def peer_states(self) -> Sequence[PeerState]:
        """Return the state of each peer."""

    async def public_key(self, private_key_file: Path) -> PublicKey:
        """Return the public key; make a missing private key (0600, directory 0700) first.

        The key has 32 bytes, in base64: it travels where a claim has `wireGuard.publicKey`, and the
        core refuses a larger one. The provider never rewrites an existing file. In a dry run a missing
        file is a `TransientError`.
        """


Takes = Literal["never", "optional", "required"]
"""Whether the tunnels of a mode take a field of the configuration."""


@attrs.frozen(kw_only=True)
class TransportMode(Provider[Transport]):
    """A transport described; `kind` is the tunnels' `mode`, or the `encryption` of one that encrypts.

    `tunnel` is the `attrs` class of `spec.options` of the tunnels; `Tunnel.options` holds an instance of
    it, or none where the class is `NoOptions`. `key` and `encapsulation` say whether a tunnel takes a
    `key` of 32 bits and UDP ports (`encapSport`, `encapDport`).

    Added in 1.0.
    """

    tunnel: type[object] = NoOptions
    key: Takes = "never"
    encapsulation: Takes = "never"
