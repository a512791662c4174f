"""The kernel's backend on a fake kernel and a fake device, through the suite that every transport passes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from wireguard_samples import WG, created, foreign_link, peer, peer_key, samples, tunnel

from routerd.errors import PermanentError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.names import LinkName, PublicKey
from routerd.spi import Kernel, PluginContext, Provider, Transport
from routerd.testing.context import RecordingLogger, make_context
from routerd.testing.contracts import EncryptingTransportContract, Foreign, PluginContract, Samples
from routerd.testing.kernel import FakeKernel
from routerd_transport_wireguard.backend import KernelBackend
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.device import DeviceDump, PeerDump, PeerSetting
from routerd_transport_wireguard.keys import public_key_of, read_key
from routerd_transport_wireguard.plugin import routerd_transports
from routerd_transport_wireguard.transport import WireGuardTransport


class FakePort:
    """Implements `DevicePort`; a device exists as long as its link does in the kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._devices: dict[LinkName, DeviceDump] = {}
        self.settings: list[PeerSetting] = []

    async def read(self, link: LinkName) -> DeviceDump | None:
        found = (await self._kernel.links()).get(link)
        if found is None or found.kind != "wireguard":
            self._devices.pop(link, None)
            return None
        return self._devices.setdefault(link, DeviceDump(public_key=None, listen_port=0))

    async def configure(self, link: LinkName, *, private_key: bytes | None, listen_port: int | None) -> None:
        device = await self.read(link)
        assert device is not None
        if private_key is not None:
            device = attrs.evolve(device, public_key=public_key_of(private_key))
        if listen_port is not None:
            device = attrs.evolve(device, listen_port=listen_port)
        self._devices[link] = device

    async def set_peer(self, link: LinkName, peer: PeerSetting) -> None:
        device = await self.read(link)
        assert device is not None
        self.settings.append(peer)
        # An address belongs to one peer: who gets it last.
        peers = {
            key: attrs.evolve(dump, allowed_ips=dump.allowed_ips - peer.allowed_ips)
            for key, dump in device.peers.items()
        }
        before = peers.pop(peer.public_key, PeerDump())
        if not peer.remove:
            peers[peer.public_key] = attrs.evolve(
                before,
                allowed_ips=peer.allowed_ips,
                endpoint=peer.endpoint or before.endpoint,
                keepalive=peer.keepalive,
            )
        self._devices[link] = attrs.evolve(device, peers=peers)

    def heard(self, link: str, key: PublicKey, **facts: Any) -> None:
        """Let a peer have been heard from."""
        device = self._devices[LinkName(link)]
        peers = {**device.peers, key: attrs.evolve(device.peers[key], **facts)}
        self._devices[LinkName(link)] = attrs.evolve(device, peers=peers)


class TestPlugin(PluginContract):
    """The suite that every plugin passes."""

    name = "transport_wireguard"


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def port(kernel: FakeKernel) -> FakePort:
    return FakePort(kernel)


@pytest.fixture
def context(tmp_path: Path, kernel: FakeKernel) -> PluginContext:
    return make_context(tmp_path, plugin="transport_wireguard", kernel=kernel)


@pytest.fixture
def transport(context: PluginContext, port: FakePort) -> WireGuardTransport:
    return made(context, port, WireGuardOptions())


def made(context: PluginContext, port: FakePort, options: WireGuardOptions) -> WireGuardTransport:
    return WireGuardTransport(context, options, kernel=KernelBackend(context.kernel, port))


class TestContract(EncryptingTransportContract):
    """The suite that every encrypting transport passes."""

    @pytest.fixture
    def provider(self, port: FakePort) -> Provider[Transport]:
        (described,) = routerd_transports()

        def create(context: PluginContext, options: object) -> Transport:
            described.create(context, options)  # refuses what it must
            return made(context, port, WireGuardOptions())

        return attrs.evolve(described, create=create)

    @pytest.fixture
    def options(self) -> WireGuardOptions:
        return WireGuardOptions()

    @pytest.fixture
    def context(self, tmp_path: Path, kernel: FakeKernel) -> PluginContext:
        return make_context(tmp_path, plugin="transport_wireguard", kernel=kernel)

    @pytest.fixture
    def samples(self, tmp_path: Path, kernel: FakeKernel) -> Mapping[str, Samples[Any, Any]]:
        there = tunnel(tmp_path, "wg-theirs", port=51830)

        async def place() -> None:
            kernel.place(foreign_link("wg-theirs"))

        async def read() -> object:
            return (await kernel.links()).get(LinkName("wg-theirs"))

        return samples(tmp_path, Foreign(key=there.link, value=there, place=place, read=read))


async def test_a_change_keeps_the_device_and_its_peers(
    transport: WireGuardTransport, tmp_path: Path, kernel: FakeKernel
) -> None:
    first = tunnel(tmp_path)
    assert await transport.tunnels.apply([created(first)]) == {}
    assert (
        await transport.peers.apply([Change(key=peer_key(1), before=None, after=peer("10.20.0.2/32"))]) == {}
    )
    kernel.writes.clear()
    other = tunnel(tmp_path, port=51999, address="10.20.0.7/32", key="another")
    assert await transport.tunnels.apply([Change(key=WG, before=first, after=other)]) == {}
    assert kernel.writes == ["set wg-a"]
    assert (await transport.tunnels.observe())[WG] == other
    assert set(await transport.peers.observe()) == {peer_key(1)}


async def test_any_port_will_do_where_none_is_wished(transport: WireGuardTransport, tmp_path: Path) -> None:
    wanted = tunnel(tmp_path, port=None)
    assert await transport.tunnels.apply([created(wanted)]) == {}
    observed = (await transport.tunnels.observe())[WG]
    assert transport.tunnels.agrees(wanted, observed)
    assert not transport.tunnels.agrees(attrs.evolve(wanted, mtu=1300), observed)


async def test_a_peer_that_moved_and_works_keeps_its_endpoint(
    transport: WireGuardTransport, tmp_path: Path, port: FakePort, context: PluginContext
) -> None:
    await transport.tunnels.apply([created(tunnel(tmp_path))])
    wanted = peer("10.20.0.2/32", endpoint="192.0.2.1")
    await transport.peers.apply([Change(key=peer_key(1), before=None, after=wanted)])
    moved = peer("10.20.0.2/32", endpoint="192.0.2.99").endpoint
    now = int(context.clock.now().timestamp())
    port.heard(WG, peer_key(1).public_key, endpoint=moved, last_handshake=now - 10)
    observed = (await transport.peers.observe())[peer_key(1)]
    assert transport.peers.agrees(wanted, observed)
    wider = peer("10.20.0.2/32", "10.20.0.8/32", endpoint="192.0.2.1")
    await transport.peers.apply([Change(key=peer_key(1), before=observed, after=wider)])
    assert (await transport.peers.observe())[peer_key(1)].endpoint == moved


async def test_a_silent_peer_gets_the_configured_endpoint_back(
    transport: WireGuardTransport, tmp_path: Path, port: FakePort, context: PluginContext
) -> None:
    await transport.tunnels.apply([created(tunnel(tmp_path))])
    wanted = peer("10.20.0.2/32", endpoint="192.0.2.1")
    await transport.peers.apply([Change(key=peer_key(1), before=None, after=wanted)])
    moved = peer("10.20.0.2/32", endpoint="192.0.2.99").endpoint
    long_ago = int(context.clock.now().timestamp()) - 200
    port.heard(WG, peer_key(1).public_key, endpoint=moved, last_handshake=long_ago)
    observed = (await transport.peers.observe())[peer_key(1)]
    assert not transport.peers.agrees(wanted, observed)
    await transport.peers.apply([Change(key=peer_key(1), before=observed, after=wanted)])
    assert (await transport.peers.observe())[peer_key(1)].endpoint == wanted.endpoint


async def test_two_peers_swap_their_addresses_in_one_apply(
    transport: WireGuardTransport, tmp_path: Path
) -> None:
    await transport.tunnels.apply([created(tunnel(tmp_path))])
    one, other = peer("10.20.0.2/32"), peer("10.20.0.3/32")
    keys = peer_key(1), peer_key(2)
    await transport.peers.apply(
        [Change(key=k, before=None, after=p) for k, p in zip(keys, (one, other), strict=True)]
    )
    swapped = [Change(key=keys[0], before=one, after=other), Change(key=keys[1], before=other, after=one)]
    assert await transport.peers.apply(swapped) == {}
    assert await transport.peers.observe() == dict(zip(keys, (other, one), strict=True))


async def test_a_peer_waits_for_its_device(transport: WireGuardTransport) -> None:
    failures = await transport.peers.apply([Change(key=peer_key(1), before=None, after=peer("10.20.0.2/32"))])
    assert isinstance(failures[peer_key(1)], TransientError)
    assert "no device wg-a" in str(failures[peer_key(1)])


async def test_a_key_file_that_was_replaced_is_named(transport: WireGuardTransport, tmp_path: Path) -> None:
    wanted = tunnel(tmp_path)
    wrong = tunnel(tmp_path, "wg-x", key="other").wireguard
    assert wanted.wireguard is not None
    assert wrong is not None
    mixed = attrs.evolve(
        wanted, wireguard=attrs.evolve(wanted.wireguard, private_key_file=wrong.private_key_file)
    )
    failures = await transport.tunnels.apply([created(mixed)])
    assert isinstance(failures[WG], PermanentError)
    assert "other.key" in str(failures[WG])


async def test_the_kernel_alone_is_refused_where_it_has_no_module(
    context: PluginContext, kernel: FakeKernel, port: FakePort, tmp_path: Path
) -> None:
    kernel.kinds.discard("wireguard")
    alone = made(context, port, WireGuardOptions(backend="kernel"))
    failures = await alone.tunnels.apply([created(tunnel(tmp_path))])
    assert isinstance(failures[WG], UnsupportedError)


async def test_a_missing_program_is_named_with_its_package(
    context: PluginContext, kernel: FakeKernel, tmp_path: Path
) -> None:
    kernel.kinds.discard("wireguard")
    lacking = WireGuardTransport(context, WireGuardOptions(program="no-such-program"))
    failures = await lacking.tunnels.apply([created(tunnel(tmp_path))])
    assert isinstance(failures[WG], UnsupportedError)
    assert "apt-get install wireguard-go" in str(failures[WG])


async def test_secrets_show_nowhere(
    transport: WireGuardTransport, tmp_path: Path, context: PluginContext, port: FakePort
) -> None:
    wanted = tunnel(tmp_path)
    shared = tmp_path / "psk"
    shared.write_text("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n")
    await transport.tunnels.apply([created(wanted)])
    secret_peer = attrs.evolve(peer("10.20.0.2/32"), preshared_key_file=shared)
    assert await transport.peers.apply([Change(key=peer_key(1), before=None, after=secret_peer)]) == {}
    assert port.settings[-1].preshared_key == b"\x01" * 32
    assert isinstance(context.log, RecordingLogger)
    assert wanted.wireguard is not None
    assert wanted.wireguard.private_key_file is not None
    private = read_key(wanted.wireguard.private_key_file)
    said = context.log.text() + repr(port.settings) + repr(await transport.tunnels.observe())
    for secret in (private.hex(), repr(private), repr(b"\x01" * 32), shared.read_text().strip()):
        assert secret not in said
