"""The table of peers, on devices in memory."""

from __future__ import annotations

import base64
from pathlib import Path

import attrs
import pytest
from plugins.transport_wireguard.tests.wireguard_fakes import FakePort, make
from plugins.transport_wireguard.tests.wireguard_samples import (
    FIRST,
    SECOND,
    WG,
    of,
    peer,
    peer_key,
    to,
    tunnel,
)

from routerd.errors import PermanentError, TransientError
from routerd.model.names import PublicKey
from routerd.model.tunnel import PeerKey
from routerd.spi import PluginContext
from routerd.testing.clock import FakeClock
from routerd.testing.context import make_context
from routerd.testing.faults import FaultPlan
from routerd.testing.kernel import FakeKernel
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


async def test_a_peer_whose_device_is_missing_waits_for_it(made: WireGuardTransport) -> None:
    failures = await made.peers.apply([to(of(1), peer("10.255.1.2/32"))])
    assert isinstance(failures[of(1)], TransientError)
    assert "its device wg-a does not exist yet" in str(failures[of(1)])
    assert await made.peers.apply([to(of(1), None, peer("10.255.1.2/32"))]) == {}


@pytest.mark.parametrize("key", ["", "short", "c2hvcnQ=", "é" * 44, "A" * 43 + "!"])
async def test_a_wrong_public_key_fails_by_itself(made: WireGuardTransport, key: str, tmp_path: Path) -> None:
    await made.tunnels.apply([to(WG, tunnel(tmp_path))])
    wrong = PeerKey(link=WG, public_key=PublicKey(key))
    failures = await made.peers.apply([to(wrong, peer("10.255.1.9/32")), to(of(1), peer("10.255.1.2/32"))])
    assert set(failures) == {wrong}
    assert isinstance(failures[wrong], PermanentError)
    assert await made.peers.apply([to(wrong, None, peer("10.255.1.9/32"))]) == {}


@pytest.mark.parametrize("turned", [False, True])
async def test_an_address_moves_between_peers_in_any_order(
    made: WireGuardTransport, turned: bool, tmp_path: Path
) -> None:
    await made.tunnels.apply([to(WG, tunnel(tmp_path))])
    before = {of(1): peer("10.255.1.2/32", "10.255.1.3/32"), of(2): peer("10.255.1.4/32")}
    after = {of(1): peer("10.255.1.3/32", "10.255.1.4/32"), of(2): peer("10.255.1.2/32")}
    await made.peers.apply([to(key, value) for key, value in before.items()])
    changes = [to(key, after[key], before[key]) for key in before]
    assert await made.peers.apply(changes[::-1] if turned else changes) == {}
    assert await made.peers.observe() == after


async def test_a_working_peer_keeps_the_endpoint_to_which_it_roamed(
    made: WireGuardTransport, context: PluginContext, port: FakePort, tmp_path: Path
) -> None:
    assert isinstance(context.clock, FakeClock)
    now = int(context.clock.now().timestamp())
    await made.tunnels.apply([to(WG, tunnel(tmp_path))])
    wanted = peer("10.255.1.2/32", endpoint=FIRST)
    await made.peers.apply([to(of(1), wanted)])
    port.hear(of(1), now, SECOND)
    assert made.peers.agrees(wanted, (await made.peers.observe())[of(1)])
    changed = attrs.evolve(wanted, keepalive=25)
    assert await made.peers.apply([to(of(1), changed, wanted)]) == {}
    assert (await made.peers.observe())[of(1)].endpoint == SECOND
    # A peer that is silent for longer than a session gets its configured endpoint.
    await context.clock.advance(181)
    assert not made.peers.agrees(changed, (await made.peers.observe())[of(1)])
    assert await made.peers.apply([to(of(1), changed, changed)]) == {}
    assert (await made.peers.observe())[of(1)].endpoint == FIRST
    assert made.peers.agrees(changed, (await made.peers.observe())[of(1)])


async def test_a_peer_without_an_endpoint_keeps_the_observed_one(
    made: WireGuardTransport, port: FakePort, tmp_path: Path
) -> None:
    await made.tunnels.apply([to(WG, tunnel(tmp_path))])
    wanted = peer("10.255.1.2/32")
    await made.peers.apply([to(of(1), wanted)])
    port.hear(of(1), 1, SECOND)
    assert made.peers.agrees(wanted, (await made.peers.observe())[of(1)])
    await made.peers.apply([to(of(1), attrs.evolve(wanted, keepalive=3), wanted)])
    assert (await made.peers.observe())[of(1)].endpoint == SECOND


async def test_a_preshared_key_is_set_once_and_removed(
    made: WireGuardTransport, port: FakePort, tmp_path: Path
) -> None:
    file = tmp_path / "psk"
    file.write_bytes(base64.b64encode(bytes([7]) * 32) + b"\n")
    await made.tunnels.apply([to(WG, tunnel(tmp_path))])
    wanted = peer("10.255.1.2/32", preshared_key_file=file)
    assert await made.peers.apply([to(of(1), wanted)]) == {}
    assert port._dump(WG).peers[peer_key(1)].preshared_key == bytes([7]) * 32
    port.writes.clear()
    assert await made.peers.apply([to(of(1), wanted)]) == {}
    assert port.writes == []
    assert await made.peers.apply([to(of(1), attrs.evolve(wanted, preshared_key_file=None), wanted)]) == {}
    assert port._dump(WG).peers[peer_key(1)].preshared_key == bytes(32)


@pytest.mark.parametrize(("text", "kind"), [(None, TransientError), ("no key", PermanentError)])
async def test_an_unusable_preshared_key_fails_only_its_peer(
    made: WireGuardTransport, text: str | None, kind: type[Exception], tmp_path: Path
) -> None:
    file = tmp_path / "psk"
    if text is not None:
        file.write_text(text)
    await made.tunnels.apply([to(WG, tunnel(tmp_path))])
    failures = await made.peers.apply(
        [to(of(1), peer("10.255.1.2/32", preshared_key_file=file)), to(of(2), peer("10.255.1.3/32"))]
    )
    assert set(failures) == {of(1)}
    assert isinstance(failures[of(1)], kind)
    assert "psk" in str(failures[of(1)])


async def test_many_peers_are_set_with_one_reading_of_their_device(
    made: WireGuardTransport, kernel: FakeKernel, tmp_path: Path
) -> None:
    await made.tunnels.apply([to(WG, tunnel(tmp_path))])
    kernel.faults = FaultPlan()
    await made.peers.apply([to(of(n), peer(f"10.255.2.{n}/32")) for n in range(1, 100)])
    assert kernel.faults.calls.count("read wg-a") == 1
