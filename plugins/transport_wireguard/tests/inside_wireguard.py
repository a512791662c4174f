"""wireguard-go driven by the plugin. Not collected: `test_wireguard_userspace.py` runs it in a namespace.

The far end is made by hand, with wireguard-go and wg in a network namespace `far`, so that every test
here is also one of interoperation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from wireguard_samples import WG, created, peer, samples, tunnel

from routerd.kernel.links import NetlinkKernel
from routerd.model.change import Change
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import PeerKey
from routerd.runtime.clock import SystemClock
from routerd.spi import PluginContext, Provider, Transport
from routerd.testing.context import TaskSpawn, WakeCounter, make_context
from routerd.testing.contracts import EncryptingTransportContract, Foreign, Samples
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.keys import public_key_of, read_key
from routerd_transport_wireguard.plugin import routerd_transports
from routerd_transport_wireguard.transport import WireGuardTransport


def sh(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def programs(device: str) -> list[int]:
    """Return the processes that run a device; a zombie runs nothing, and has no command line."""
    words = f"wireguard-go\0{device}\0".encode()
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and (process / "cmdline").read_bytes().endswith(words):
                found.append(int(process.name))
    return found


def end_program(device: str) -> None:
    for pid in programs(device):
        os.kill(pid, signal.SIGKILL)


async def until(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Take away every device and process that a test leaves."""
    yield
    sh("for link in $(ip -o link show type tun | cut -d: -f2); do ip link del $link; done; true")
    end_program("wg-far")
    sh("ip netns del far 2>/dev/null; ip link del near 2>/dev/null; true")


@pytest.fixture
def context(tmp_path: Path) -> PluginContext:
    return make_context(tmp_path, plugin="transport_wireguard", kernel=NetlinkKernel(), clock=SystemClock())


class TestContract(EncryptingTransportContract):
    """The suite that every encrypting transport passes."""

    @pytest.fixture
    def provider(self) -> Provider[Transport]:
        return routerd_transports()[0]

    @pytest.fixture
    def options(self) -> WireGuardOptions:
        return WireGuardOptions(backend="userspace")

    @pytest.fixture
    def context(self, tmp_path: Path) -> PluginContext:
        return make_context(
            tmp_path, plugin="transport_wireguard", kernel=NetlinkKernel(), clock=SystemClock()
        )

    @pytest.fixture
    def samples(self, tmp_path: Path) -> Mapping[str, Samples[Any, Any]]:
        there = tunnel(tmp_path, "wg-theirs", port=51830)

        async def place() -> None:
            sh("ip tuntap add wg-theirs mode tun")

        async def read() -> object:
            return sh("ip -o link show wg-theirs")

        return samples(tmp_path, Foreign(key=there.link, value=there, place=place, read=read))


class Far:
    """The far end: a namespace with wireguard-go and wg, made by hand."""

    def __init__(self, directory: Path) -> None:
        sh("ip netns add far && ip link add near type veth peer name wire netns far")
        sh("ip addr add 192.0.2.0/31 dev near && ip link set near up")
        sh("ip -n far addr add 192.0.2.1/31 dev wire && ip -n far link set wire up")
        sh("ip netns exec far wireguard-go wg-far && ip -n far link set wg-far up mtu 1420")
        sh("ip -n far addr add 10.20.0.2/32 dev wg-far && ip -n far route add 10.20.0.1 dev wg-far")
        self.key = directory / "far.key"
        sh(f"wg genkey > {self.key}")
        sh(f"ip netns exec far wg set wg-far listen-port 51820 private-key {self.key}")

    @property
    def public_key(self) -> PublicKey:
        return public_key_of(read_key(self.key))

    def accept(self, key: PublicKey, endpoint: str = "") -> None:
        end = f"endpoint {endpoint}" if endpoint else ""
        sh(f"ip netns exec far wg set wg-far peer '{key}' allowed-ips 10.20.0.1/32 {end}")

    def listen(self, port: int) -> None:
        sh(f"ip netns exec far wg set wg-far listen-port {port}")


@attrs.frozen
class Pair:
    """Both ends: ours by the plugin, the far one by hand."""

    far: Far
    key: PeerKey
    context: PluginContext

    def pings(self, count: int = 1) -> bool:
        done = subprocess.run(
            ["ping", "-q", "-c", str(count), "-i", "0.02", "-W", "1", "10.20.0.2"],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0


@pytest.fixture
async def pair(tmp_path: Path, context: PluginContext) -> AsyncIterator[Pair]:
    """Join both ends, we being the one that dials."""
    far = Far(tmp_path)
    made = transport(context)
    await made.start()
    wanted = tunnel(tmp_path)
    assert wanted.wireguard is not None
    far.accept(wanted.wireguard.public_key)
    key = PeerKey(link=WG, public_key=far.public_key)
    assert await made.tunnels.apply([created(wanted)]) == {}
    assert await made.peers.apply([joined(key)]) == {}
    sh("ip route add 10.20.0.2 dev wg-a")
    yield Pair(far, key, context)
    await made.aclose()
    if isinstance(context.spawn, TaskSpawn):
        await context.spawn.aclose()


def transport(context: PluginContext) -> WireGuardTransport:
    return WireGuardTransport(context, WireGuardOptions(backend="userspace"))


def joined(key: PeerKey) -> Change[PeerKey, Any]:
    wanted = attrs.evolve(peer("10.20.0.2/32", endpoint="192.0.2.1"), keepalive=25)
    return Change(key=key, before=None, after=wanted)


async def test_packets_pass_and_the_states_show_it(pair: Pair) -> None:
    await until(pair.pings, "a ping passes")
    made = transport(pair.context)
    (state,) = await made.peer_states()
    assert state.key == pair.key
    assert state.last_handshake > 0
    assert state.rx_bytes > 0
    (device,) = await made.states()
    assert (device.backend, device.up) == ("wireguard-go", True)


async def test_a_later_daemon_adopts_without_a_lost_packet(pair: Pair, tmp_path: Path) -> None:
    await until(pair.pings, "a ping passes")
    pinging = subprocess.Popen(  # noqa: ASYNC220 - it runs beside
        ["ping", "-q", "-i", "0.02", "-w", "3", "10.20.0.2"], stdout=subprocess.PIPE, text=True
    )
    for _ in range(5):
        later = transport(pair.context)
        wanted = tunnel(tmp_path)
        assert await later.tunnels.observe() == {WG: wanted}
        assert await later.tunnels.apply([created(wanted)]) == {}
        assert await later.peers.apply([joined(pair.key)]) == {}
        await later.aclose()
    said = (await asyncio.to_thread(pinging.communicate))[0]
    assert ", 0% packet loss" in said, said


async def test_a_killed_program_is_noticed_and_made_again(pair: Pair, tmp_path: Path) -> None:
    await until(pair.pings, "a ping passes")
    assert isinstance(pair.context.wake, WakeCounter)
    woken = pair.context.wake.count
    end_program("wg-a")
    await until(lambda: pair.context.wake.count > woken, "the loop is woken")
    later = transport(pair.context)
    assert await later.tunnels.observe() == {}
    assert await later.tunnels.apply([created(tunnel(tmp_path))]) == {}
    assert await later.peers.apply([joined(pair.key)]) == {}
    sh("ip route add 10.20.0.2 dev wg-a")
    await until(pair.pings, "a ping passes again")


async def test_a_peer_that_moves_is_followed(pair: Pair) -> None:
    await until(pair.pings, "a ping passes")
    pair.far.listen(51999)
    made = transport(pair.context)
    ours = next(iter((await made.tunnels.observe()).values())).wireguard
    assert ours is not None
    pair.far.accept(ours.public_key, "192.0.2.0:51820")
    back = ["ip", "netns", "exec", "far", "ping", "-q", "-c", "1", "-W", "1", "10.20.0.1"]
    await until(lambda: subprocess.run(back, capture_output=True, check=False).returncode == 0, "a ping back")
    observed = (await made.peers.observe())[pair.key]
    assert observed.endpoint is not None
    assert observed.endpoint.port == 51999
    assert made.peers.agrees(joined(pair.key).desired, observed)


async def test_the_last_device_takes_its_process_and_socket_with_it(pair: Pair) -> None:
    made = transport(pair.context)
    (wanted,) = (await made.tunnels.observe()).values()
    assert await made.tunnels.apply([Change(key=WG, before=wanted, after=None)]) == {}
    await until(lambda: not programs("wg-a"), "it ends")
    assert not Path("/var/run/wireguard/wg-a.sock").exists()


async def test_a_socket_of_another_namespace_is_not_taken_for_ours(pair: Pair, tmp_path: Path) -> None:
    made = transport(pair.context)
    assert Path("/var/run/wireguard/wg-far.sock").exists()
    assert set(await made.tunnels.observe()) == {WG}
    assert LinkName("wg-far") not in await pair.context.kernel.links()
