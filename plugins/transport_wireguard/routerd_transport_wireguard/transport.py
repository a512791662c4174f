"""The provider: devices, peers and their states."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from routerd.model.names import PublicKey
from routerd.model.tunnel import Opening, PeerState, Tunnel, TunnelState
from routerd.spi import PluginContext
from routerd_transport_wireguard.backend import Backend, Backends, KernelBackend, UserspaceBackend
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.keys import ensure_private_key, public_key_of
from routerd_transport_wireguard.peers import PeerTable
from routerd_transport_wireguard.tunnels import TunnelTable

OVERHEAD = 80
"""Bytes: 40 of IPv6, 8 of UDP, 32 of WireGuard; IPv4 takes 20 fewer, but wg-quick counts 80 too."""

WATCH_SECONDS = 1.0


class WireGuardTransport:
    """Implements `spi.EncryptingTransport`."""

    def __init__(
        self,
        context: PluginContext,
        options: WireGuardOptions,
        *,
        kernel: Backend | None = None,
        userspace: Backend | None = None,
        exists: Callable[[str], bool] | None = None,
    ) -> None:
        self._context = context
        self._exists = exists or link_exists
        self._backends = Backends(
            context,
            options,
            kernel=kernel or KernelBackend(context.kernel),
            userspace=userspace or UserspaceBackend(context.kernel, options),
        )
        self.tunnels = TunnelTable(context, self._backends)
        self.peers = PeerTable(context, self._backends)

    async def start(self) -> None:
        """Watch for devices that vanish; change nothing."""
        if not self._context.read_only:
            self._context.spawn("watch", self._watch())

    async def aclose(self) -> None:
        """Keep devices and their processes."""

    def overhead(self, tunnel: Tunnel) -> int:
        """Return the number of bytes that the encapsulation adds to a packet."""
        del tunnel
        return OVERHEAD

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        """Return the device's port; a device without a fixed one gets answers to its own packets only."""
        device = tunnel.wireguard
        port = device.listen_port if device is not None else None
        return [Opening(protocol="udp", port=port)] if port is not None else []

    async def states(self) -> Sequence[TunnelState]:
        """Return the state of each device."""
        return [
            TunnelState(
                link=name,
                backend=device.backend.name,
                up=device.link.up,
                rx_bytes=device.link.rx_bytes,
                tx_bytes=device.link.tx_bytes,
                note=device.backend.note,
            )
            for name, device in (await self._backends.devices()).items()
        ]

    async def peer_states(self) -> Sequence[PeerState]:
        """Return the state of each peer."""
        return [
            PeerState(
                key=key,
                endpoint=dump.endpoint,
                last_handshake=dump.last_handshake,
                rx_bytes=dump.rx_bytes,
                tx_bytes=dump.tx_bytes,
            )
            for key, dump in (await self.peers.dumps()).items()
        ]

    async def public_key(self, private_key_file: Path) -> PublicKey:
        """Return the public key of a private one; make a missing one first."""
        private = await asyncio.to_thread(
            ensure_private_key, private_key_file, read_only=self._context.read_only
        )
        return public_key_of(private)

    async def _watch(self) -> None:
        """Wake the loop when a device of ours has vanished, for example with its killed process."""
        while True:
            await self._context.clock.sleep(WATCH_SECONDS)
            # One system call for each device: a full reading every second would keep a core busy.
            gone = {name for name in self.tunnels.known if not self._exists(name)}
            if gone:
                self.tunnels.known -= gone
                self._context.log.warning("wireguard.gone", links=", ".join(sorted(gone)))
                self._context.wake()


def link_exists(name: str) -> bool:
    """Say whether this network namespace has a device of that name."""
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False
