"""Transports in memory: tunnels are links of the context's kernel."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs

from routerd.errors import ProviderError, TransientError
from routerd.kernel.link_fields import TUNNEL_KINDS
from routerd.model.change import Change
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import (
    Opening,
    PeerKey,
    PeerState,
    Tunnel,
    TunnelState,
    WireGuardPeer,
)
from routerd.spi import (
    Capability,
    Kernel,
    Link,
    LinkSpec,
    NoOptions,
    PluginContext,
    TransportMode,
    apply_each,
)
from routerd.testing.fakes.describe import describe
from routerd.testing.fakes.world import FakeWorld
from routerd.testing.tables import FakeTable

OVERHEAD = {"ipip": 20, "fou": 28, "gre": 24, "wireguard": 60}
PROTOCOL = {"ipip": "4", "gre": "47"}


class TunnelTable:
    """Tunnels of one mode as links of the context's kernel."""

    def __init__(self, mode: str, kernel: Kernel, world: FakeWorld) -> None:
        self._mode = mode
        self._kind = "ipip" if mode == "fou" else mode
        self._kernel = kernel
        self._world = world

    async def observe(self) -> Mapping[LinkName, Tunnel]:
        """Return our links of this mode as tunnels."""
        found: dict[LinkName, Tunnel] = {}
        for link in (await self._kernel.links()).values():
            encapsulated = link.encapsulation is not None
            if link.owner is None or link.kind != self._kind or encapsulated != (self._mode == "fou"):
                continue
            found[link.name] = Tunnel(
                link=link.name, mode=self._mode, owner=link.owner, mtu=link.mtu, addresses=link.addresses,
                key=link.key, encapsulation=link.encapsulation, wireguard=self._world.devices.get(link.name),
                options=self._world.options.get(link.name), **_ends(link),
            )  # fmt: skip
        return found

    async def apply(self, changes: Sequence[Change[LinkName, Tunnel]]) -> Mapping[LinkName, ProviderError]:
        """Make, remake and delete links."""
        return await apply_each(changes, self._make)

    async def _make(self, change: Change[LinkName, Tunnel]) -> None:
        present = (await self.observe()).get(change.key)
        if change.after is not None and present == change.after:
            return
        if change.after is None or present is not None:
            await self._kernel.delete_link(change.key)
            self._world.devices.pop(change.key, None)
            self._world.options.pop(change.key, None)
        if change.after is None:
            return
        tunnel = change.after
        await self._kernel.add_link(self._spec(tunnel))
        if tunnel.wireguard is not None:
            self._world.devices[tunnel.link] = tunnel.wireguard
        if tunnel.options is not None:
            self._world.options[tunnel.link] = tunnel.options

    def _spec(self, tunnel: Tunnel) -> LinkSpec:
        spec = LinkSpec(
            name=tunnel.link, kind=self._kind, owner=tunnel.owner, mtu=tunnel.mtu, addresses=tunnel.addresses
        )
        if self._kind in TUNNEL_KINDS:
            return attrs.evolve(
                spec, local=tunnel.local, remote=tunnel.remote, ttl=tunnel.ttl, key=tunnel.key,
                encapsulation=tunnel.encapsulation,
            )  # fmt: skip
        if tunnel.remote is None:
            return spec
        # A kind of a stranger: the fake kernel keeps whatever attributes it is given.
        ends: dict[str, int | str] = {
            "local": str(tunnel.local),
            "remote": str(tunnel.remote),
            "ttl": tunnel.ttl,
        }
        return attrs.evolve(spec, data=ends)


def _ends(link: Link) -> dict[str, Any]:  # Any: the fields of a tunnel
    if link.kind in TUNNEL_KINDS:
        return {"local": link.local, "remote": link.remote, "ttl": link.ttl}
    given = dict(link.data)
    if not given:
        return {"ttl": 0}
    ends = {name: ip_address(str(given[name])) for name in ("local", "remote")}
    return {**ends, "ttl": int(given["ttl"])}


class FakeTransport:
    """Implements `spi.Transport` on the context's kernel.

    Added in 1.0.
    """

    def __init__(self, mode: str, world: FakeWorld, context: PluginContext) -> None:
        self._mode = mode
        self._world = world
        self._context = context
        self._tunnels = TunnelTable(mode, context.kernel, world)

    async def start(self) -> None:
        """Get ready."""

    async def aclose(self) -> None:
        """Let go; the links stay."""

    @property
    def tunnels(self) -> TunnelTable:
        """Return the tunnels."""
        return self._tunnels

    def overhead(self, tunnel: Tunnel) -> int:
        """Return the bytes that the encapsulation adds."""
        return OVERHEAD.get(self._mode, 20) + (0 if tunnel.key is None else 4)

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        """Return the port of the tunnel's UDP, or the mode's IP protocol."""
        if tunnel.encapsulation is not None:
            return [Opening(protocol="udp", port=tunnel.encapsulation.sport)]
        return [Opening(protocol=PROTOCOL.get(self._mode, "4"))]

    async def states(self) -> Sequence[TunnelState]:
        """Return one state for each tunnel."""
        return [TunnelState(link=link, backend="fake", up=True) for link in await self._tunnels.observe()]


class FakeEncryptingTransport(FakeTransport):
    """Implements `spi.EncryptingTransport`; its keys only look real.

    Added in 1.0.
    """

    @property
    def peers(self) -> FakeTable[PeerKey, WireGuardPeer]:
        """Return the peers; a peer of a device that is missing is refused."""
        return _Peers(self._world.peers, self._tunnels)

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        """Return the device's port, if it has a fixed one."""
        port = tunnel.wireguard.listen_port if tunnel.wireguard is not None else None
        return [] if port is None else [Opening(protocol="udp", port=port)]

    async def peer_states(self) -> Sequence[PeerState]:
        """Return one state for each peer, without a handshake."""
        peers = self._world.peers.content
        return [
            PeerState(key=key, endpoint=peer.endpoint, last_handshake=0, rx_bytes=0, tx_bytes=0)
            for key, peer in peers.items()
        ]

    async def public_key(self, private_key_file: Path) -> PublicKey:
        """Return a key that depends only on the path; make a missing file like the real provider."""
        if not private_key_file.exists():
            if self._context.read_only:
                raise TransientError(f"private key {private_key_file} does not exist yet")
            private_key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_key_file.touch(mode=0o600)
            private_key_file.write_text(base64.b64encode(bytes(32)).decode() + "\n")
        digest = hashlib.sha256(str(private_key_file).encode()).digest()
        return PublicKey(base64.b64encode(digest).decode())


class _Peers(FakeTable[PeerKey, WireGuardPeer]):
    """The world's peers, with the check that their device exists."""

    def __init__(self, stored: FakeTable[PeerKey, WireGuardPeer], tunnels: TunnelTable) -> None:
        super().__init__()
        self.content = stored.content
        self.writes = stored.writes
        self._tunnels = tunnels

    async def apply(
        self, changes: Sequence[Change[PeerKey, WireGuardPeer]]
    ) -> Mapping[PeerKey, ProviderError]:
        """Make the changes of peers whose device exists."""
        devices = await self._tunnels.observe()
        self.refusals = {
            change.key: TransientError(f"device {change.key.link} does not exist")
            for change in changes
            if change.key.link not in devices and change.after is not None
        }
        return await super().apply(changes)


def transport_provider(
    world: FakeWorld, mode: str = "ipip", tunnel: type[object] = NoOptions
) -> TransportMode:
    """Describe a fake transport of `mode`, whose tunnels have the options `tunnel`."""
    described = describe(mode, lambda context: FakeTransport(mode, world, context))
    return TransportMode(
        kind=mode,
        create=described.create,
        tunnel=tunnel,
        key="optional" if mode == "gre" else "never",
        encapsulation="required" if mode == "fou" else "never",
    )


def encrypting_provider(world: FakeWorld, mode: str = "wireguard") -> TransportMode:
    """Describe a fake transport with peers."""
    described = describe(mode, lambda context: FakeEncryptingTransport(mode, world, context))
    return TransportMode(kind=mode, create=described.create, capabilities=frozenset({Capability.ENCRYPTS}))
