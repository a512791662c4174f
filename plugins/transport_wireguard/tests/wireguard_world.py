"""Hosts and the wires between them, for the code of `inside_wireguard_*.py`. Not a test itself.

It runs as root of a user namespace with an empty /run. A host is a network namespace with directories
of its own; `with host.here():` is this thread being there, and what it starts is there too. All share
one directory of sockets, as network namespaces of one machine do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import attrs
from plugins.transport_wireguard.tests.wireguard_samples import peer, to, tunnel
from tests.support.waiting import PATIENCE, until_async

from routerd.model.names import LinkName
from routerd.model.tunnel import Endpoint, PeerKey, Tunnel, WireGuardPeer
from routerd.spi import PluginContext
from routerd.testing.live import live_context
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.transport import WireGuardTransport

USERSPACE = WireGuardOptions(backend="userspace")
KERNEL = WireGuardOptions(backend="kernel")
SOCKETS = Path("/var/run/wireguard")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def sh(command: str) -> str:
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
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


def kill_program(device: str) -> None:
    (pid,) = programs(device)
    os.kill(pid, signal.SIGKILL)


@attrs.frozen(kw_only=True)
class Host:
    """A namespace, its address on the wire, and its WireGuard device."""

    name: str
    address: str
    inner: str
    directory: Path

    @property
    def link(self) -> LinkName:
        return LinkName(f"wg-{self.name}")

    def context(self, *, read_only: bool = False) -> PluginContext:
        """Return the world of a new daemon on the same host."""
        return live_context(self.directory, read_only=read_only)

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        with (
            Path("/proc/thread-self/ns/net").open() as before,
            Path(f"/run/netns/{self.name}").open() as there,
        ):
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(before.fileno())

    def sh(self, command: str) -> str:
        with self.here():
            return sh(command)

    def tunnel(self, **changes: object) -> Tunnel:
        return tunnel(self.directory, self.link, **({"address": f"{self.inner}/24"} | changes))  # type: ignore[arg-type]

    def key(self, **changes: object) -> str:
        device = self.tunnel(**changes).wireguard
        assert device is not None
        return device.public_key

    def index(self) -> int:
        return int(self.sh(f"ip -o link show {self.link} | cut -d: -f1"))

    def pings(self, other: Host) -> bool:
        with self.here():
            words = ["ping", "-q", "-c", "1", "-W", "1", other.inner]
            return subprocess.run(words, capture_output=True, check=False).returncode == 0

    @contextlib.contextmanager
    def pinging(self, other: Host) -> Iterator[None]:
        """Ping all the time; at the end nothing may be lost."""
        with self.here():
            words = ["ping", "-n", "-i", "0.02", "-W", "2", other.inner]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            yield
            self.sh(f"ping -q -c 25 -i 0.02 -W 2 {other.inner}")  # which takes half a second
        finally:
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=PATIENCE)[0]
        numbers = [int(number) for number in re.findall(r"icmp_seq=(\d+)", said)]
        # Without regard to the end: the last answer may be on its way when the program is stopped.
        assert numbers == list(range(1, len(numbers) + 1)), said
        assert len(numbers) > 20, said


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def end_host(name: str) -> None:
    """Delete a namespace. A device ends with it, and with the device its program."""
    device = f"wg-{name}"
    sh(f"ip -n {name} link del {device} 2>/dev/null; ip netns del {name}")
    for pid in programs(device):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    (SOCKETS / f"{device}.sock").unlink(missing_ok=True)


@contextlib.contextmanager
def hosts(directory: Path, count: int = 2) -> Iterator[Sequence[Host]]:
    """Make hosts on one bridge, 192.0.2.0/24, whose namespace is ours."""
    names = "abc"[:count]
    made = [
        Host(
            name=name,
            address=f"192.0.2.{number}",
            inner=f"10.20.0.{number}",
            directory=directory / name,
        )
        for number, name in enumerate(names, start=1)
    ]
    sh("ip link add br0 type bridge && ip link set br0 up")
    try:
        for host in made:
            host.directory.mkdir()
            sh(
                f"ip netns add {host.name}"
                f" && ip link add v{host.name} type veth peer name u netns {host.name}"
                f" && ip link set v{host.name} master br0 up"
            )
            host.sh(f"ip link set lo up && ip addr add {host.address}/24 dev u && ip link set u up")
        yield made
    finally:
        for host in made:
            if Path(f"/run/netns/{host.name}").exists():
                end_host(host.name)
            # A namespace ends some time after its name; what it holds goes first.
            sh(f"ip link del v{host.name} 2>/dev/null; true")
        sh("ip link del br0")


@contextlib.asynccontextmanager
async def daemon(host: Host, options: WireGuardOptions = USERSPACE) -> AsyncIterator[WireGuardTransport]:
    """Run a daemon's provider on a host; at its end the data plane stays."""
    context = host.context()
    with host.here():
        made = WireGuardTransport(context, options)
        await made.start()
        try:
            yield made
        finally:
            await made.aclose()
            await context.spawn.aclose()  # type: ignore[attr-defined]
    assert context.spawn.failures == {}  # type: ignore[attr-defined]


def to_reach(here: Host, other: Host, **changes: object) -> dict[PeerKey, WireGuardPeer]:
    """Return the peer that `here` wants for `other`."""
    key = PeerKey(link=here.link, public_key=other.key())  # type: ignore[arg-type]
    endpoint = Endpoint(address=IPv4Address(other.address), port=51820)
    return {key: peer(f"{other.inner}/32", **({"endpoint": endpoint} | changes))}


async def want(made: WireGuardTransport, device: Tunnel, peers: dict[PeerKey, WireGuardPeer]) -> int:
    """One pass of the loop: look, compare, change; returns how many changes it made."""
    count = 0
    for table, desired in ((made.tunnels, {device.link: device}), (made.peers, peers)):
        observed = await table.observe()
        changes = [to(key, None, value) for key, value in observed.items() if key not in desired]
        changes += [
            to(key, value, observed.get(key))  # type: ignore[call-overload]
            for key, value in desired.items()
            if key not in observed or not table.agrees(value, observed[key])  # type: ignore[arg-type, index]
        ]
        failures = await table.apply(changes)
        assert failures == {}, failures
        count += len(changes)
    return count


async def join(
    first: Host, second: Host, options: tuple[WireGuardOptions, WireGuardOptions] = (USERSPACE, USERSPACE)
) -> None:
    """Connect two hosts, let the daemons go, and wait for a ping."""
    for here, other, backend in ((first, second, options[0]), (second, first, options[1])):
        async with daemon(here, backend) as made:
            await want(made, here.tunnel(), to_reach(here, other))
    await until_async(lambda: first.pings(second), "a ping passes")


def by_hand(here: Host, other: Host, *, device: str = "", more: str = "") -> None:
    """Connect a host to another one without the plugin, by wg and wireguard-go (or what `device` runs)."""
    wireguard = here.tunnel().wireguard
    assert wireguard is not None
    here.sh(
        f"{device or f'wireguard-go {here.link} 2>/dev/null'}"
        f" && wg set {here.link} listen-port 51820 private-key {wireguard.private_key_file}"
        f" peer '{other.key()}' allowed-ips {other.inner}/32 endpoint {other.address}:51820 {more}"
        f" && ip addr add {here.inner}/24 dev {here.link} && ip link set {here.link} mtu 1420 up"
    )
