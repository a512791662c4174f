"""The plugin keeps the contract of a plugin, and its kernel backend that of an encrypting transport.

The device is one in memory, behind the same port as generic netlink; the real ones are in
`test_wireguard_userspace.py` and `test_wireguard_kernel.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from routerd.errors import NotOwnedError, PermanentError, PluginError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import Endpoint, PeerKey, Tunnel, WireGuardDevice, WireGuardPeer
from routerd.spi import Capability, Link, PluginContext, Provider, Transport
from routerd.testing.clock import FakeClock
from routerd.testing.context import make_context
from routerd.testing.contracts import EncryptingTransportContract, Foreign, PluginContract, Samples, running
from routerd.testing.faults import FaultPlan, every_fault
from routerd.testing.kernel import FakeKernel
from routerd_transport_wireguard import plugin
from routerd_transport_wireguard.backend import KernelBackend
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.device import DeviceDump, DevicePort, PeerDump, PeerSetting
from routerd_transport_wireguard.keys import ensure_private_key, public_key_of
from routerd_transport_wireguard.transport import WireGuardTransport

WG1, WG2 = LinkName("wg1"), LinkName("wg2")
FIRST, SECOND = (
    Endpoint(address=IPv4Address("192.0.2.1"), port=1),
    Endpoint(address=IPv4Address("192.0.2.2"), port=2),
)


def peer_key(number: int) -> PublicKey:
    return public_key_of(bytes([number]) * 32)


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


_FAKE: DevicePort = FakePort(FakeKernel())


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def port(kernel: FakeKernel) -> FakePort:
    return FakePort(kernel)


@pytest.fixture
def context(tmp_path: Path, kernel: FakeKernel) -> PluginContext:
    return make_context(tmp_path, kernel=kernel)


@pytest.fixture
def made(context: PluginContext, port: FakePort) -> WireGuardTransport:
    return make(context, port)


def make(
    context: PluginContext, port: FakePort, options: WireGuardOptions | None = None
) -> WireGuardTransport:
    return WireGuardTransport(
        context,
        options or WireGuardOptions(backend="kernel"),
        kernel=KernelBackend(context.kernel, port),
        exists=lambda name: LinkName(name) in port.kernel._links,
    )


def tunnel(context: PluginContext, name: str = WG1, **changes: object) -> Tunnel:
    file = context.state_dir / "keys" / f"{name}.key"
    values: dict[str, Any] = {"listen_port": 51820} | changes
    port = values.pop("listen_port")
    made = Tunnel(
        link=LinkName(name),
        mode="wireguard",
        owner=f"WireGuardInterface/{name}",
        mtu=1420,
        addresses=(IPv4Interface("10.255.1.1/32"),),
        ttl=0,
        wireguard=WireGuardDevice(
            public_key=public_key_of(ensure_private_key(file)), listen_port=port, private_key_file=file
        ),
    )
    return attrs.evolve(made, **values)


def peer(*networks: str, **changes: object) -> WireGuardPeer:
    return attrs.evolve(WireGuardPeer(allowed_ips=frozenset(map(IPv4Network, networks))), **changes)


def of(number: int, link: LinkName = WG1) -> PeerKey:
    return PeerKey(link=link, public_key=peer_key(number))


def to(key: Any, after: Any, before: Any = None) -> Change[Any, Any]:
    return Change(key=key, before=before, after=after)


def samples_of(context: PluginContext, foreign: Foreign[Any, Any]) -> Mapping[str, Samples[Any, Any]]:
    values = {name: tunnel(context, name, listen_port=51000 + n) for n, name in enumerate((WG1, WG2))}
    long = LinkName("w" * 16)

    async def prepare(transport: WireGuardTransport) -> None:
        assert await transport.tunnels.apply([to(key, value) for key, value in values.items()]) == {}

    return {
        "tunnels": Samples(
            values=values,
            replacement={
                WG1: tunnel(
                    context, WG1, listen_port=51007, mtu=1300, addresses=(IPv4Interface("10.255.9.1/30"),)
                )
            },
            refused={long: tunnel(context, long)},
            foreign=foreign,
        ),
        "peers": Samples(
            values={
                of(1): peer("10.255.1.2/32", keepalive=25, endpoint=FIRST),
                of(2): peer("10.255.1.3/32", "10.255.1.4/32"),
                of(1, WG2): peer("10.255.1.2/32"),
            },
            replacement={
                of(1): peer("10.255.1.4/32", endpoint=FIRST),
                of(2): peer("10.255.1.3/32", "10.255.1.2/32", keepalive=5),
            },
            refused={PeerKey(link=WG1, public_key=PublicKey("c2hvcnQ=")): peer("10.255.1.9/32")},
            prepare=prepare,
        ),
    }


class TestPlugin(PluginContract):
    name: ClassVar[str] = "transport_wireguard"


class TestKernelWireGuard(EncryptingTransportContract):
    @pytest.fixture
    def context(self, tmp_path: Path, kernel: FakeKernel) -> PluginContext:
        return make_context(tmp_path, kernel=kernel)

    @pytest.fixture
    def provider(self, port: FakePort) -> Provider[Transport]:
        described = plugin.routerd_transports()[0]

        def create(context: PluginContext, options: object) -> Transport:
            described.create(context, options)
            assert isinstance(options, WireGuardOptions)
            return make(context, port, options)

        return attrs.evolve(described, create=create)

    @pytest.fixture
    def options(self) -> WireGuardOptions:
        return WireGuardOptions(backend="kernel")

    @pytest.fixture
    def samples(self, context: PluginContext, kernel: FakeKernel) -> Mapping[str, Samples[Any, Any]]:
        there = Link(name=LinkName("wg0"), index=90, kind="wireguard", up=True, mtu=1420, alias="of others")

        async def place() -> None:
            kernel.place(there)

        async def read() -> object:
            return (await kernel.links()).get(there.name)

        return samples_of(
            context,
            Foreign(key=there.name, value=tunnel(context, there.name), place=place, read=read),
        )


def test_the_plugin_offers_one_encrypting_transport_that_needs_no_module() -> None:
    (described,) = plugin.routerd_transports()
    assert described.kind == "wireguard"
    assert described.capabilities == {Capability.ENCRYPTS, Capability.USERSPACE}


def test_other_options_are_refused(context: PluginContext) -> None:
    with pytest.raises(PluginError, match="WireGuardOptions"):
        plugin.create(context, object())


async def test_any_port_will_do_when_none_is_asked_for(
    made: WireGuardTransport, context: PluginContext
) -> None:
    wanted = tunnel(context, listen_port=None)
    assert await made.tunnels.apply([to(WG1, wanted)]) == {}
    observed = (await made.tunnels.observe())[WG1]
    assert made.tunnels.agrees(wanted, observed)
    assert not made.tunnels.agrees(tunnel(context, listen_port=7), observed)


async def test_another_key_is_set_in_place(
    made: WireGuardTransport, context: PluginContext, kernel: FakeKernel
) -> None:
    before = tunnel(context)
    await made.tunnels.apply([to(WG1, before)])
    await made.peers.apply([to(of(1), peer("10.255.1.2/32"))])
    index = (await kernel.links())[WG1].index
    file = context.state_dir / "other.key"
    assert before.wireguard is not None
    after = attrs.evolve(
        before,
        wireguard=attrs.evolve(
            before.wireguard, public_key=public_key_of(ensure_private_key(file)), private_key_file=file
        ),
    )
    assert not made.tunnels.agrees(after, (await made.tunnels.observe())[WG1])
    assert await made.tunnels.apply([to(WG1, after, before)]) == {}
    assert await made.tunnels.observe() == {WG1: after}
    assert set(await made.peers.observe()) == {of(1)}
    assert (await kernel.links())[WG1].index == index


async def test_mtu_and_addresses_are_set_in_place(
    made: WireGuardTransport, context: PluginContext, kernel: FakeKernel, port: FakePort
) -> None:
    before = tunnel(context)
    await made.tunnels.apply([to(WG1, before)])
    kernel.writes.clear()
    port.writes.clear()
    after = attrs.evolve(before, mtu=1280, addresses=())
    assert await made.tunnels.apply([to(WG1, after, before)]) == {}
    assert (kernel.writes, port.writes) == (["set wg1"], [])


async def test_a_key_file_that_does_not_fit_is_an_error_of_its_device_alone(
    made: WireGuardTransport, context: PluginContext
) -> None:
    good, bad, none = tunnel(context), tunnel(context, "wg2"), tunnel(context, "wg3")
    assert bad.wireguard is not None
    assert none.wireguard is not None
    assert none.wireguard.private_key_file is not None
    none.wireguard.private_key_file.unlink()
    bad = attrs.evolve(bad, wireguard=attrs.evolve(bad.wireguard, public_key=peer_key(9)))
    failures = await made.tunnels.apply([to(each.link, each) for each in (bad, none, good)])
    assert set(failures) == {bad.link, none.link}
    assert isinstance(failures[bad.link], PermanentError)
    assert "restart routerd" in str(failures[bad.link])
    assert isinstance(failures[none.link], TransientError)
    assert "wg3.key: no such file" in str(failures[none.link])
    assert not none.wireguard.private_key_file.exists()
    assert set(await made.tunnels.observe()) == {good.link}


async def test_a_link_of_another_plugin_is_neither_taken_nor_deleted(
    made: WireGuardTransport, context: PluginContext, kernel: FakeKernel
) -> None:
    kernel.place(
        Link(name=WG1, index=50, kind="gre", up=True, mtu=1400, alias="routerd:TunnelInterface/other")
    )
    failures = await made.tunnels.apply([to(WG1, tunnel(context))])
    assert isinstance(failures[WG1], TransientError)
    assert "TunnelInterface/other" in str(failures[WG1])
    assert await made.tunnels.apply([to(WG1, None, tunnel(context))]) == {}
    assert WG1 in await kernel.links()


async def test_a_foreign_device_is_named_with_what_to_do(
    made: WireGuardTransport, context: PluginContext, kernel: FakeKernel
) -> None:
    kernel.place(Link(name=WG1, index=50, kind="wireguard", up=True, mtu=1400, alias="tailscale"))
    for change in (to(WG1, tunnel(context)), to(WG1, None, tunnel(context))):
        error = (await made.tunnels.apply([change]))[WG1]
        assert isinstance(error, NotOwnedError)
        assert "wg1 exists and is not ours (its alias is 'tailscale'); rename or delete it" in str(error)


async def test_without_the_module_the_kernel_backend_says_what_to_do(
    context: PluginContext, kernel: FakeKernel, port: FakePort
) -> None:
    kernel.kinds.discard("wireguard")
    failures = await make(context, port).tunnels.apply([to(WG1, tunnel(context))])
    assert isinstance(failures[WG1], UnsupportedError)
    assert "modprobe wireguard" in str(failures[WG1])


async def test_without_module_and_program_the_error_says_what_to_install(
    context: PluginContext, kernel: FakeKernel, port: FakePort
) -> None:
    kernel.kinds.discard("wireguard")
    options = WireGuardOptions(program="no-such-wireguard-go")
    failures = await make(context, port, options).tunnels.apply([to(WG1, tunnel(context))])
    assert isinstance(failures[WG1], UnsupportedError)
    assert "apt-get install wireguard-go" in str(failures[WG1])


async def test_a_dry_run_changes_nothing(context: PluginContext, port: FakePort) -> None:
    await make(context, port).tunnels.apply([to(WG1, tunnel(context))])
    dry = make(attrs.evolve(context, read_only=True), port)
    before = (port.kernel.dump(), dict(port.dumps))
    async with running(plugin.routerd_transports()[0], context, WireGuardOptions()):
        pass
    failures = {
        **await dry.tunnels.apply([to(WG2, tunnel(context, WG2)), to(WG1, None, tunnel(context))]),
        **await dry.peers.apply([to(of(1), peer("10.255.1.2/32"))]),
    }
    assert len(failures) == 3
    assert (port.kernel.dump(), port.dumps) == before


async def test_a_peer_whose_device_is_missing_waits_for_it(made: WireGuardTransport) -> None:
    failures = await made.peers.apply([to(of(1), peer("10.255.1.2/32"))])
    assert isinstance(failures[of(1)], TransientError)
    assert "no device wg1" in str(failures[of(1)])
    assert await made.peers.apply([to(of(1), None, peer("10.255.1.2/32"))]) == {}


@pytest.mark.parametrize("key", ["", "short", "c2hvcnQ=", "é" * 44, "A" * 43 + "!"])
async def test_a_wrong_public_key_fails_by_itself(
    made: WireGuardTransport, context: PluginContext, key: str
) -> None:
    await made.tunnels.apply([to(WG1, tunnel(context))])
    wrong = PeerKey(link=WG1, public_key=PublicKey(key))
    failures = await made.peers.apply([to(wrong, peer("10.255.1.9/32")), to(of(1), peer("10.255.1.2/32"))])
    assert set(failures) == {wrong}
    assert isinstance(failures[wrong], PermanentError)
    assert await made.peers.apply([to(wrong, None, peer("10.255.1.9/32"))]) == {}


@pytest.mark.parametrize("turned", [False, True])
async def test_an_address_moves_between_peers_in_any_order(
    made: WireGuardTransport, context: PluginContext, turned: bool
) -> None:
    await made.tunnels.apply([to(WG1, tunnel(context))])
    before = {of(1): peer("10.255.1.2/32", "10.255.1.3/32"), of(2): peer("10.255.1.4/32")}
    after = {of(1): peer("10.255.1.3/32", "10.255.1.4/32"), of(2): peer("10.255.1.2/32")}
    await made.peers.apply([to(key, value) for key, value in before.items()])
    changes = [to(key, after[key], before[key]) for key in before]
    assert await made.peers.apply(changes[::-1] if turned else changes) == {}
    assert await made.peers.observe() == after


async def test_a_peer_that_is_heard_keeps_the_endpoint_it_roamed_to(
    made: WireGuardTransport, context: PluginContext, port: FakePort
) -> None:
    assert isinstance(context.clock, FakeClock)
    now = int(context.clock.now().timestamp())
    await made.tunnels.apply([to(WG1, tunnel(context))])
    wanted = peer("10.255.1.2/32", endpoint=FIRST)
    await made.peers.apply([to(of(1), wanted)])
    port.hear(of(1), now, SECOND)
    assert made.peers.agrees(wanted, (await made.peers.observe())[of(1)])
    changed = attrs.evolve(wanted, keepalive=25)
    assert await made.peers.apply([to(of(1), changed, wanted)]) == {}
    assert (await made.peers.observe())[of(1)].endpoint == SECOND
    # Silent for longer than a session lives, it is looked for where it was configured.
    await context.clock.advance(181)
    assert not made.peers.agrees(changed, (await made.peers.observe())[of(1)])
    assert await made.peers.apply([to(of(1), changed, changed)]) == {}
    assert (await made.peers.observe())[of(1)].endpoint == FIRST
    assert made.peers.agrees(changed, (await made.peers.observe())[of(1)])


async def test_a_peer_without_an_endpoint_is_left_where_it_was_heard(
    made: WireGuardTransport, context: PluginContext, port: FakePort
) -> None:
    await made.tunnels.apply([to(WG1, tunnel(context))])
    wanted = peer("10.255.1.2/32")
    await made.peers.apply([to(of(1), wanted)])
    port.hear(of(1), 1, SECOND)
    assert made.peers.agrees(wanted, (await made.peers.observe())[of(1)])
    await made.peers.apply([to(of(1), attrs.evolve(wanted, keepalive=3), wanted)])
    assert (await made.peers.observe())[of(1)].endpoint == SECOND


async def test_a_preshared_key_is_set_once_and_taken_away(
    made: WireGuardTransport, context: PluginContext, port: FakePort
) -> None:
    file = context.state_dir / "psk"
    file.write_bytes(base64.b64encode(bytes([7]) * 32) + b"\n")
    await made.tunnels.apply([to(WG1, tunnel(context))])
    wanted = peer("10.255.1.2/32", preshared_key_file=file)
    assert await made.peers.apply([to(of(1), wanted)]) == {}
    assert port._dump(WG1).peers[peer_key(1)].preshared_key == bytes([7]) * 32
    port.writes.clear()
    assert await made.peers.apply([to(of(1), wanted)]) == {}
    assert port.writes == []
    assert await made.peers.apply([to(of(1), attrs.evolve(wanted, preshared_key_file=None), wanted)]) == {}
    assert port._dump(WG1).peers[peer_key(1)].preshared_key == bytes(32)


@pytest.mark.parametrize(("text", "kind"), [(None, TransientError), ("no key", PermanentError)])
async def test_an_unusable_preshared_key_fails_its_peer_alone(
    made: WireGuardTransport, context: PluginContext, text: str | None, kind: type[Exception]
) -> None:
    file = context.state_dir / "psk"
    if text is not None:
        file.write_text(text)
    await made.tunnels.apply([to(WG1, tunnel(context))])
    failures = await made.peers.apply(
        [to(of(1), peer("10.255.1.2/32", preshared_key_file=file)), to(of(2), peer("10.255.1.3/32"))]
    )
    assert set(failures) == {of(1)}
    assert isinstance(failures[of(1)], kind)
    assert "psk" in str(failures[of(1)])


async def test_many_peers_are_set_with_one_reading_of_their_device(
    made: WireGuardTransport, context: PluginContext, kernel: FakeKernel
) -> None:
    await made.tunnels.apply([to(WG1, tunnel(context))])
    kernel.faults = FaultPlan()
    await made.peers.apply([to(of(n), peer(f"10.255.2.{n}/32")) for n in range(1, 100)])
    assert kernel.faults.calls.count("read wg1") == 1


async def test_a_device_that_goes_away_wakes_the_loop_once(
    made: WireGuardTransport, context: PluginContext, kernel: FakeKernel
) -> None:
    clock: Any = context.clock
    await made.start()
    try:
        await made.tunnels.apply([to(WG1, tunnel(context)), to(WG2, tunnel(context, WG2))])
        await made.tunnels.observe()
        await clock.advance(5)
        # A device that we delete ourselves surprises nobody.
        await made.tunnels.apply([to(WG2, None, tunnel(context, WG2))])
        await clock.advance(5)
        assert context.wake.count == 0  # type: ignore[attr-defined]
        kernel.remove(WG1)
        await clock.advance(5)
        assert context.wake.count == 1  # type: ignore[attr-defined]
        assert "warning wireguard.gone links=wg1" in context.log.text()  # type: ignore[attr-defined]
    finally:
        await made.aclose()
        await context.spawn.aclose()  # type: ignore[attr-defined]
    assert context.spawn.failures == {}  # type: ignore[attr-defined]


async def test_every_fault_is_a_failure_of_its_key_and_can_be_repaired(tmp_path: Path) -> None:
    for number, plan in enumerate(every_fault()):
        kernel = FakeKernel(faults=plan)
        place = tmp_path / str(number)
        place.mkdir()
        context = make_context(place, kernel=kernel)
        made, wanted = make(context, FakePort(kernel)), tunnel(context)
        assert set(await made.tunnels.apply([to(WG1, wanted)])) <= {WG1}
        for _ in range(3):
            if not await made.tunnels.apply([to(WG1, wanted)]):
                break
        kernel.faults = FaultPlan()
        assert await made.tunnels.observe() == {WG1: wanted}


async def test_no_secret_is_logged_or_printed(
    made: WireGuardTransport, context: PluginContext, port: FakePort
) -> None:
    file = context.state_dir / "psk"
    secret = bytes([7]) * 32
    file.write_bytes(base64.b64encode(secret))
    wanted = tunnel(context)
    await made.tunnels.apply([to(WG1, wanted)])
    await made.peers.apply([to(of(1), peer("10.255.1.2/32", preshared_key_file=file))])
    private = ensure_private_key(context.state_dir / "keys" / "wg1.key")
    setting = PeerSetting(public_key=peer_key(1), preshared_key=secret)
    shown = (
        " ".join(map(repr, (setting, port.dumps, await made.tunnels.observe(), await made.peers.observe())))
        + context.log.text()
    )  # type: ignore[attr-defined]
    for key in (private, secret):
        for form in (key.hex(), base64.b64encode(key).decode(), repr(key)):
            assert form not in shown
