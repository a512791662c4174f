"""The table of devices, on devices in memory."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import attrs
import pytest
from plugins.transport_wireguard.tests.wireguard_fakes import FakePort, make
from plugins.transport_wireguard.tests.wireguard_samples import WG, WG2, of, peer, peer_key, to, tunnel

from routerd.errors import NotOwnedError, PermanentError, PluginError, TransientError, UnsupportedError
from routerd.model.names import LinkName
from routerd.spi import Capability, Link, PluginContext
from routerd.testing.context import make_context
from routerd.testing.contracts import running
from routerd.testing.faults import FaultPlan, every_fault
from routerd.testing.kernel import FakeKernel
from routerd_transport_wireguard import plugin
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.device import PeerSetting
from routerd_transport_wireguard.keys import ensure_private_key, public_key_of
from routerd_transport_wireguard.transport import WireGuardTransport


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


def test_the_plugin_offers_one_encrypting_transport_that_needs_no_module() -> None:
    (described,) = plugin.routerd_transports()
    assert described.kind == "wireguard"
    assert described.capabilities == {Capability.ENCRYPTS, Capability.USERSPACE}


def test_other_options_are_refused(context: PluginContext) -> None:
    with pytest.raises(PluginError, match="WireGuardOptions"):
        plugin.routerd_transports()[0].make(context, object())


async def test_without_a_desired_port_every_port_agrees(made: WireGuardTransport, tmp_path: Path) -> None:
    wanted = tunnel(tmp_path, port=None)
    assert await made.tunnels.apply([to(WG, wanted)]) == {}
    observed = (await made.tunnels.observe())[WG]
    assert made.tunnels.agrees(wanted, observed)
    assert not made.tunnels.agrees(tunnel(tmp_path, port=7), observed)


async def test_another_key_is_set_in_place(
    made: WireGuardTransport, kernel: FakeKernel, tmp_path: Path
) -> None:
    before = tunnel(tmp_path)
    await made.tunnels.apply([to(WG, before)])
    await made.peers.apply([to(of(1), peer("10.255.1.2/32"))])
    index = (await kernel.links())[WG].index
    file = tmp_path / "other.key"
    assert before.wireguard is not None
    after = attrs.evolve(
        before,
        wireguard=attrs.evolve(
            before.wireguard, public_key=public_key_of(ensure_private_key(file)), private_key_file=file
        ),
    )
    assert not made.tunnels.agrees(after, (await made.tunnels.observe())[WG])
    assert await made.tunnels.apply([to(WG, after, before)]) == {}
    assert await made.tunnels.observe() == {WG: after}
    assert set(await made.peers.observe()) == {of(1)}
    assert (await kernel.links())[WG].index == index


async def test_mtu_and_addresses_are_set_in_place(
    made: WireGuardTransport, kernel: FakeKernel, port: FakePort, tmp_path: Path
) -> None:
    before = tunnel(tmp_path)
    await made.tunnels.apply([to(WG, before)])
    kernel.writes.clear()
    port.writes.clear()
    after = attrs.evolve(before, mtu=1280, addresses=())
    assert await made.tunnels.apply([to(WG, after, before)]) == {}
    assert (kernel.writes, port.writes) == (["set wg-a"], [])


async def test_a_wrong_key_file_fails_only_its_device(made: WireGuardTransport, tmp_path: Path) -> None:
    good, bad, none = tunnel(tmp_path), tunnel(tmp_path, "wg2"), tunnel(tmp_path, "wg3")
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
    made: WireGuardTransport, kernel: FakeKernel, tmp_path: Path
) -> None:
    kernel.place(
        Link(name=WG, index=50, kind="gre", up=True, mtu=1400, alias="routerd:TunnelInterface/other")
    )
    failures = await made.tunnels.apply([to(WG, tunnel(tmp_path))])
    assert isinstance(failures[WG], TransientError)
    assert "TunnelInterface/other" in str(failures[WG])
    assert await made.tunnels.apply([to(WG, None, tunnel(tmp_path))]) == {}
    assert WG in await kernel.links()


async def test_a_foreign_device_is_an_error_with_a_remedy(
    made: WireGuardTransport, kernel: FakeKernel, tmp_path: Path
) -> None:
    kernel.place(Link(name=WG, index=50, kind="wireguard", up=True, mtu=1400, alias="tailscale"))
    for change in (to(WG, tunnel(tmp_path)), to(WG, None, tunnel(tmp_path))):
        error = (await made.tunnels.apply([change]))[WG]
        assert isinstance(error, NotOwnedError)
        assert "wg-a: it exists and is not ours; its alias is 'tailscale'; rename or delete it" in str(error)


async def test_without_the_module_the_kernel_backend_names_the_remedy(
    context: PluginContext, kernel: FakeKernel, port: FakePort, tmp_path: Path
) -> None:
    kernel.kinds.discard("wireguard")
    failures = await make(context, port).tunnels.apply([to(WG, tunnel(tmp_path))])
    assert isinstance(failures[WG], UnsupportedError)
    assert "modprobe wireguard" in str(failures[WG])


async def test_without_module_and_program_the_error_names_the_package(
    context: PluginContext, kernel: FakeKernel, port: FakePort, tmp_path: Path
) -> None:
    kernel.kinds.discard("wireguard")
    options = WireGuardOptions(program="no-such-wireguard-go")
    failures = await make(context, port, options).tunnels.apply([to(WG, tunnel(tmp_path))])
    assert isinstance(failures[WG], UnsupportedError)
    assert "apt-get install wireguard-go" in str(failures[WG])


async def test_a_dry_run_changes_nothing(context: PluginContext, port: FakePort, tmp_path: Path) -> None:
    await make(context, port).tunnels.apply([to(WG, tunnel(tmp_path))])
    dry = make(attrs.evolve(context, read_only=True), port)
    before = (port.kernel.dump(), dict(port.dumps))
    async with running(plugin.routerd_transports()[0], context, WireGuardOptions()):
        pass
    failures = {
        **await dry.tunnels.apply([to(WG2, tunnel(tmp_path, WG2)), to(WG, None, tunnel(tmp_path))]),
        **await dry.peers.apply([to(of(1), peer("10.255.1.2/32"))]),
    }
    assert len(failures) == 3
    assert (port.kernel.dump(), port.dumps) == before


async def test_a_vanished_device_wakes_the_loop_once(
    made: WireGuardTransport, context: PluginContext, kernel: FakeKernel, tmp_path: Path
) -> None:
    clock: Any = context.clock
    await made.start()
    try:
        await made.tunnels.apply([to(WG, tunnel(tmp_path)), to(WG2, tunnel(tmp_path, WG2))])
        await made.tunnels.observe()
        await clock.advance(5)
        # Our own deletion does not wake the loop.
        await made.tunnels.apply([to(WG2, None, tunnel(tmp_path, WG2))])
        await clock.advance(5)
        assert context.wake.count == 0  # type: ignore[attr-defined]
        kernel.remove(WG)
        await clock.advance(5)
        assert context.wake.count == 1  # type: ignore[attr-defined]
        assert "warning wireguard.gone links=wg-a" in context.log.text()  # type: ignore[attr-defined]
    finally:
        await made.aclose()
        await context.spawn.aclose()  # type: ignore[attr-defined]
    assert context.spawn.failures == {}  # type: ignore[attr-defined]


async def test_every_fault_is_a_failure_of_its_key_and_can_be_repaired(tmp_path: Path) -> None:
    number = 0
    for number, plan in enumerate(every_fault()):
        kernel = FakeKernel(faults=plan)
        place = tmp_path / str(number)
        place.mkdir()
        context = make_context(place, kernel=kernel)
        made, wanted = make(context, FakePort(kernel)), tunnel(tmp_path)
        assert set(await made.tunnels.apply([to(WG, wanted)])) <= {WG}
        for _ in range(3):
            if not await made.tunnels.apply([to(WG, wanted)]):
                break
        kernel.faults = FaultPlan()
        assert await made.tunnels.observe() == {WG: wanted}
    assert number > 1, "no call of the kernel was failed"


async def test_no_secret_is_logged_or_printed(
    made: WireGuardTransport, context: PluginContext, port: FakePort, tmp_path: Path
) -> None:
    file = tmp_path / "psk"
    secret = bytes([7]) * 32
    file.write_bytes(base64.b64encode(secret))
    wanted = tunnel(tmp_path)
    await made.tunnels.apply([to(WG, wanted)])
    await made.peers.apply([to(of(1), peer("10.255.1.2/32", preshared_key_file=file))])
    private = ensure_private_key(tmp_path / "keys" / "wg-a.key")
    setting = PeerSetting(public_key=peer_key(1), preshared_key=secret)
    shown = (
        " ".join(map(repr, (setting, port.dumps, await made.tunnels.observe(), await made.peers.observe())))
        + context.log.text()
    )  # type: ignore[attr-defined]
    for key in (private, secret):
        for form in (key.hex(), base64.b64encode(key).decode(), repr(key)):
            assert form not in shown


async def test_a_device_that_somebody_renamed_makes_room_for_its_successor(
    made: WireGuardTransport, kernel: FakeKernel, tmp_path: Path
) -> None:
    wanted = tunnel(tmp_path)
    await made.tunnels.apply([to(WG, wanted)])
    renamed = (await kernel.links())[WG]
    kernel.remove(WG)
    # As a program's device looks: a link of ours that no WireGuard answers for.
    kernel.place(attrs.evolve(renamed, name=LinkName("foo"), kind="tun"))
    kernel.place(Link(name=LinkName("bar"), index=90, kind="tun", up=True, mtu=1400, alias="routerd:Other/x"))
    assert await made.tunnels.apply([to(WG, wanted)]) == {}
    assert set(await kernel.links()) - {"lo"} == {WG, "bar"}
