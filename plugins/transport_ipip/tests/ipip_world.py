"""Two hosts and a wire between them, for the code of `inside_ipip_*.py`. Not a test itself.

It runs as root of a user namespace with an empty /run. A host is a network namespace with directories
of its own; `with host.here():` is this thread being there, and what it starts is there too.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import attrs
from tests.support.waiting import PATIENCE, until

from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel, UdpEncapsulation
from routerd.spi import PluginContext, Provider, Transport
from routerd.testing.context import make_context
from routerd.testing.live import real_kernel
from routerd_transport_ipip import plugin
from routerd_transport_ipip.config import IpipOptions
from routerd_transport_ipip.transport import IpipTransport

USERSPACE = IpipOptions(backend="userspace")
KERNEL = IpipOptions(backend="kernel")
PROVIDERS: dict[str, Provider[Transport]] = {each.kind: each for each in plugin.routerd_transports()}
MODES = ("ipip", "fou", "gre")
VARIANTS = (*MODES, "gre+key")
"""The modes, and that with a key beside that without one."""
KEY = 0xC0FFEE
ETH_P_IP = 0x0800
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_NUMBERS = itertools.count()


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


def popen(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kind(variant: str) -> str:
    return variant.removesuffix("+key")


@attrs.frozen(kw_only=True)
class Host:
    """A namespace, its underlay address and the inner address of its end of the tunnel."""

    name: str
    address: str
    inner: str
    directory: Path

    @property
    def wire(self) -> str:
        return f"u{self.name}"

    @property
    def context(self) -> PluginContext:
        """A new daemon on the same host."""
        return make_context(self.directory, kernel=real_kernel())

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

    def start(self, words: list[str]) -> str:
        """Return the output of a program until its end; its children go on."""
        with self.here():
            done = subprocess.run(
                words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=PATIENCE
            )
        return done.stdout.decode()

    def ask(self, mode: str, **request: object) -> object:
        return ask(self.directory / "run" / f"{kind(mode)}.sock", **request)

    def pid(self, mode: str) -> int:
        return int(self.ask(mode, do="hello")["pid"])  # type: ignore[index]


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def ask(path: Path, **request: object) -> object:
    """Ask a relay as a daemon would."""
    with socket.socket(socket.AF_UNIX) as asking, asking.makefile("rb") as answers:
        asking.settimeout(PATIENCE)
        asking.connect(str(path))
        asking.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(answers.readline())["result"]


def stop_relays(directory: Path) -> None:
    for path in directory.glob("run/*.sock"):
        with contextlib.suppress(OSError):
            pid = int(ask(path, do="hello")["pid"])  # type: ignore[index]
            ask(path, do="stop")
            until(lambda pid=pid: has_ended(pid), "the relay ends")


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A short path, because sockets have short names; at the end it kills the relays below it."""
    made = Path(f"/run/h{next(_NUMBERS)}")
    made.mkdir()
    try:
        yield made
    finally:
        stop_relays(made)
        shutil.rmtree(made)


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    with directory() as first, directory() as second:
        sh("ip netns add a && ip netns add b && ip -n a link add ua type veth peer name ub netns b")
        hosts = (
            Host(name="a", address="192.0.2.1", inner="10.255.0.1", directory=first),
            Host(name="b", address="192.0.2.2", inner="10.255.0.2", directory=second),
        )
        try:
            for host in hosts:
                host.sh(
                    "sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip link set lo up"
                    f" && ip link set {host.wire} up && ip addr add {host.address}/24 dev {host.wire}"
                )
            yield hosts
        finally:
            for host in hosts:
                stop_relays(host.directory)
            sh("ip netns del a; ip netns del b")


def tunnel(mode: str, here: Host, there: Host, **changes: object) -> Tunnel:
    """The tunnel from one host to the other, as its daemon would want it; the mode may be a variant."""
    made = Tunnel(
        link=LinkName(f"t-{mode}"),
        mode=kind(mode),
        owner=f"TunnelInterface/to-{there.name}",
        mtu=1500,
        key=KEY if mode.endswith("+key") else None,
        addresses=(IPv4Interface(f"{here.inner}/30"),),
        local=IPv4Address(here.address),
        remote=IPv4Address(there.address),
        encapsulation=UdpEncapsulation(sport=5555, dport=5555) if mode == "fou" else None,
    )
    overhead = PROVIDERS[made.mode].make(here.context, USERSPACE).overhead(made)
    return attrs.evolve(made, **{"mtu": 1500 - overhead, **changes})


@contextlib.asynccontextmanager
async def daemon(host: Host, mode: str, backend: IpipOptions = USERSPACE) -> AsyncIterator[IpipTransport]:
    """A daemon's provider on a host; at its end the data plane stays."""
    context = host.context
    with host.here():
        made = PROVIDERS[kind(mode)].make(context, backend)
        await made.start()
    try:
        yield made
    finally:
        with host.here():
            await made.aclose()
            await context.spawn.aclose()  # type: ignore[attr-defined]


async def want(host: Host, made: Transport, *tunnels: Tunnel) -> None:
    """One pass of the loop: look, compare, change."""
    with host.here():
        observed = await made.tunnels.observe()
        desired = {each.link: each for each in tunnels}
        gone = [Change(key=key, before=observed[key], after=None) for key in observed if key not in desired]
        new = [
            Change(key=key, before=observed.get(key), after=each)
            for key, each in desired.items()
            if observed.get(key) != each
        ]
        failures = await made.tunnels.apply([*gone, *new])
        assert failures == {}, failures
        assert await made.tunnels.observe() == desired


async def join(
    mode: str, first: Host, second: Host, backends: tuple[IpipOptions, IpipOptions] = (USERSPACE, USERSPACE)
) -> None:
    """Make a tunnel between two hosts and let the daemons go."""
    for here, there, backend in ((first, second, backends[0]), (second, first, backends[1])):
        async with daemon(here, mode, backend) as made:
            await want(here, made, tunnel(mode, here, there))


def ping(here: Host, there: Host, options: str = "", *, count: int = 3) -> str:
    """Ping one by one: after the first answer ping waits for the others only as long as two of them took."""
    return [here.sh(f"ping -q -c 1 -W 60 {options} {there.inner}") for _ in range(count)][-1]


def dropped(host: Host, link: str) -> int:
    """How many packets a device has received and dropped."""
    (seen,) = json.loads(host.sh(f"ip -s -j link show {link}"))
    return int(seen["stats64"]["rx"]["dropped"])


@contextlib.contextmanager
def capture(host: Host, *, seconds: float = PATIENCE) -> Iterator[Callable[[Callable[[bytes], bool]], bytes]]:
    """Yield a function that returns the first IPv4 packet on the wire that fits.

    After `seconds` without a packet it raises `TimeoutError`.
    """
    with host.here():
        seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    with seen:
        seen.bind((host.wire, ETH_P_IP))
        seen.settimeout(seconds)

        def first(fits: Callable[[bytes], bool]) -> bytes:
            while True:
                packet = seen.recv(65535)
                if fits(packet):
                    return packet

        yield first


def merge_received_segments(host: Host) -> None:
    """Switch GRO on, as every hardware driver has it, and wait for more to merge before it is handed up.

    A veth merges only what comes from a peer without TSO, so both go on both ends.
    """
    with host.here(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for command, value in ((0x2C, 1), (0x1F, 0)):  # ETHTOOL_SGRO, ETHTOOL_STSO
            wanted = ctypes.create_string_buffer(struct.pack("II", command, value))
            request = struct.pack("16sP16x", host.wire.encode(), ctypes.addressof(wanted))
            fcntl.ioctl(asking, 0x8946, request)  # SIOCETHTOOL
    # In a thread of its own the receipt waits for a processor, and more than one packet for it.
    sh(f"ip netns exec {host.name} sh -c 'echo 1 >/sys/class/net/{host.wire}/threaded'")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
