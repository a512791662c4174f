"""A WireGuard device in memory, behind the port that generic netlink has. Not a test itself."""

from __future__ import annotations

import attrs

from routerd.model.names import LinkName
from routerd.model.tunnel import Endpoint, PeerKey
from routerd.spi import PluginContext
from routerd.testing.kernel import FakeKernel
from routerd_transport_wireguard.backend import KernelBackend
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.device import DeviceDump, DevicePort, PeerDump, PeerSetting
from routerd_transport_wireguard.keys import public_key_of
from routerd_transport_wireguard.transport import WireGuardTransport


class FakePort:
    """Implements `DevicePort` for the links of a `FakeKernel`, with WireGuard's own rules."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.dumps: dict[int, DeviceDump] = {}
        self.writes: list[str] = []

    async def read(self, link: LinkName) -> DeviceDump | None:
        self.kernel.faults.reach(f"read {link}")
        return self._dump(link) if link in self.kernel._links else None

    async def configure(self, link: LinkName, *, private_key: bytes | None, listen_port: int | None) -> None:
        self.kernel.faults.reach(f"configure {link}")
        dump = self._dump(link)
        self.writes.append(f"configure {link}")
        self.dumps[self._index(link)] = attrs.evolve(
            dump,
            public_key=public_key_of(private_key) if private_key else dump.public_key,
            listen_port=listen_port if listen_port is not None else dump.listen_port,
        )

    async def set_peer(self, link: LinkName, peer: PeerSetting) -> None:
        self.kernel.faults.reach(f"peer {link}")
        self.writes.append(f"{'remove' if peer.remove else 'set'} {peer.public_key}")
        peers = {
            # Cryptokey routing: an address leads to one peer, the one that got it last.
            key: attrs.evolve(each, allowed_ips=each.allowed_ips - peer.allowed_ips)
            for key, each in self._dump(link).peers.items()
        }
        before = peers.pop(peer.public_key, PeerDump())
        if not peer.remove:
            peers[peer.public_key] = attrs.evolve(
                before,
                allowed_ips=peer.allowed_ips,
                endpoint=peer.endpoint or before.endpoint,
                keepalive=peer.keepalive,
                preshared_key=peer.preshared_key or before.preshared_key,
            )
        self.dumps[self._index(link)] = attrs.evolve(self._dump(link), peers=peers)

    def hear(self, key: PeerKey, when: int, endpoint: Endpoint) -> None:
        """Let a handshake of a peer come in."""
        dump = self._dump(key.link)
        peer = attrs.evolve(dump.peers[key.public_key], last_handshake=when, endpoint=endpoint)
        self.dumps[self._index(key.link)] = attrs.evolve(dump, peers={**dump.peers, key.public_key: peer})

    def _index(self, link: LinkName) -> int:
        return self.kernel._links[link].index

    def _dump(self, link: LinkName) -> DeviceDump:
        return self.dumps.get(self._index(link), DeviceDump(public_key=None, listen_port=40000))


_KEEPS_THE_PORT: DevicePort = FakePort(FakeKernel())


def make(
    context: PluginContext, port: FakePort, options: WireGuardOptions | None = None
) -> WireGuardTransport:
    """Make a transport whose kernel's devices are in memory."""
    return WireGuardTransport(
        context,
        options or WireGuardOptions(backend="kernel"),
        kernel=KernelBackend(context.kernel, port),
        exists=lambda name: LinkName(name) in port.kernel._links,
    )
