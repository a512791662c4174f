"""How wireguard-go begins, lives on and ends. Not collected: `test_wireguard_userspace.py` runs it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import attrs
import pytest
from plugins.transport_wireguard.tests.wireguard_samples import of, peer, peer_key, to
from plugins.transport_wireguard.tests.wireguard_world import (
    SOCKETS,
    USERSPACE,
    Host,
    by_hand,
    daemon,
    hosts,
    join,
    kill_program,
    programs,
    sh,
    to_reach,
    want,
)
from tests.support.waiting import until_async

from routerd.errors import NotOwnedError, TransientError
from routerd.testing.context import RecordingLogger, WakeCounter
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.keys import read_key
from routerd_transport_wireguard.transport import WireGuardTransport


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with hosts(tmp_path) as (a, b):
        yield a, b


def _socket(host: Host) -> Path:
    return SOCKETS / f"{host.link}.sock"


def _children() -> set[int]:
    """Return our children, zombies among them."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


async def _create(host: Host) -> None:
    async with daemon(host) as made:
        await want(made, host.tunnel(), {})


async def test_the_program_is_not_our_child_and_holds_none_of_our_files(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    os.environ["SECRET_OF_THE_DAEMON"] = "xyzzy"
    try:
        await _create(a)
    finally:
        del os.environ["SECRET_OF_THE_DAEMON"]
    (pid,) = programs(a.link)
    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    parent, session = int(status[1]), int(status[3])
    assert parent not in {os.getpid(), *_children()}
    assert session != os.getsid(0)
    assert _children() == set()
    assert {Path(f"/proc/{pid}/fd/{n}").readlink() for n in range(3)} == {Path("/dev/null")}
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert b"xyzzy" not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_killed_program_is_started_again(pair: tuple[Host, Host]) -> None:
    a, b = pair
    await join(a, b)
    async with daemon(a) as made:
        assert await want(made, a.tunnel(), to_reach(a, b)) == 0
        wake = made._context.wake
        assert isinstance(wake, WakeCounter)
        kill_program(a.link)
        async with asyncio.timeout(10):
            await wake.event.wait()
        assert await made.tunnels.observe() == {}
        assert await want(made, a.tunnel(), to_reach(a, b)) == 2
        await until_async(lambda: a.pings(b), "a ping passes again")
        assert wake.count == 1
    assert len(programs(a.link)) == 1


async def test_a_deleted_device_leaves_nothing(pair: tuple[Host, Host]) -> None:
    a, b = pair
    await join(a, b)
    async with daemon(a) as made:
        assert await made.tunnels.apply([to(a.link, None, a.tunnel())]) == {}
        assert not _socket(a).exists()
        assert await made.tunnels.observe() == {}
        # It can be made again at once.
        for _ in range(5):
            assert await made.tunnels.apply([to(a.link, a.tunnel())]) == {}
            assert await made.tunnels.apply([to(a.link, None, a.tunnel())]) == {}
    await until_async(lambda: not programs(a.link), "the program ends")
    assert _socket(b).exists()


async def test_the_remainders_of_a_killed_program_go_with_the_device(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    await _create(a)
    kill_program(a.link)
    await until_async(lambda: str(a.link) not in a.sh("ip -o link"), "the device goes")
    assert _socket(a).exists()
    async with daemon(a) as made:
        assert await made.tunnels.apply([to(a.link, None, a.tunnel())]) == {}
    assert not _socket(a).exists()


async def test_a_missing_directory_and_a_stale_socket_do_no_harm(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    sh(f"rm -rf {SOCKETS}")
    await _create(a)
    kill_program(a.link)
    await until_async(lambda: str(a.link) not in a.sh("ip -o link"), "the device goes")
    assert _socket(a).exists()
    await _create(a)
    assert len(programs(a.link)) == 1


async def test_a_device_of_another_namespace_is_not_ours(pair: tuple[Host, Host]) -> None:
    a, b = pair
    await _create(a)
    before = a.sh(f"wg show {a.link}")
    same = attrs.evolve(b.tunnel(), link=a.link)
    async with daemon(b) as made:
        assert await made.tunnels.observe() == {}
        failures = await made.tunnels.apply([to(a.link, same), *([to(b.link, b.tunnel())])])
        assert set(failures) == {a.link}
        assert isinstance(failures[a.link], TransientError)
        assert "another network namespace" in str(failures[a.link])
        assert await made.tunnels.apply([to(a.link, None, same)]) == {}
        failures = await made.peers.apply([to(of(1, a.link), peer("10.0.0.1/32"))])
        assert "its device wg-a does not exist yet" in str(failures[of(1, a.link)])
        assert set(await made.tunnels.observe()) == {b.link}
    assert a.sh(f"wg show {a.link}") == before
    assert len(programs(a.link)) == 1


async def test_a_device_of_others_is_left_alone(pair: tuple[Host, Host]) -> None:
    a, b = pair
    by_hand(a, b)
    before = a.sh(f"wg showconf {a.link}; ip -o -4 addr show {a.link}")
    async with daemon(a) as made:
        assert await made.tunnels.observe() == {}
        for change in (to(a.link, a.tunnel(port=1)), to(a.link, None, a.tunnel())):
            failures = await made.tunnels.apply([change])
            assert isinstance(failures[a.link], NotOwnedError)
        failures = await made.peers.apply([to(of(1, a.link), peer("10.0.0.1/32"))])
        assert isinstance(failures[of(1, a.link)], TransientError)
    assert a.sh(f"wg showconf {a.link}; ip -o -4 addr show {a.link}") == before


async def test_an_unfinished_device_of_a_crash_is_finished(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    a.sh(f"wireguard-go {a.link} 2>/dev/null")
    (pid,) = programs(a.link)
    async with daemon(a) as made:
        assert await made.tunnels.observe() == {}
        await want(made, a.tunnel(), {})
        assert await made.tunnels.observe() == {a.link: a.tunnel()}
    assert programs(a.link) == [pid]


async def test_a_port_of_another_program_fails_until_it_is_free(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    async with daemon(a) as made:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", 51820))
            failures = await made.tunnels.apply([to(a.link, a.tunnel())])
            assert isinstance(failures[a.link], TransientError)
            assert "ss -lun" in str(failures[a.link])
            assert not made.tunnels.agrees(a.tunnel(), (await made.tunnels.observe())[a.link])
        await want(made, a.tunnel(), {})
        assert await made.tunnels.observe() == {a.link: a.tunnel()}
        assert " 51820" in a.sh("ss -lunH | tr : ' '")


async def test_a_cancelled_start_leaves_nothing_unowned(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    slow, gate = a.directory / "slow", a.directory / "gate"
    os.mkfifo(gate)
    slow.write_text(f'#!/bin/sh\nread line <{gate}\nexec wireguard-go "$@"\n')
    slow.chmod(0o700)
    async with daemon(a, WireGuardOptions(backend="userspace", program=str(slow))) as made:
        task = asyncio.ensure_future(made.tunnels.apply([to(a.link, a.tunnel())]))
        # A gate opens for writing once the program waits at it.
        opened = await asyncio.to_thread(gate.open, "w")
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        with opened:
            opened.write("go\n")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await made._context.kernel.links())[a.link].owner == a.tunnel().owner
        await want(made, a.tunnel(), {})
    assert len(programs(a.link)) == 1


async def test_a_dry_run_starts_nothing(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    with a.here():
        made = WireGuardTransport(a.context(read_only=True), USERSPACE)
        await made.start()
        assert set(await made.tunnels.apply([to(a.link, a.tunnel())])) == {a.link}
        assert str(a.link) not in sh("ip -o link")
        await made.aclose()
    assert programs(a.link) == []


async def test_without_the_tun_device_the_error_names_the_remedy(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    sh("mkdir -p /run/empty && mount --bind /run/empty /dev/net")
    try:
        async with daemon(a) as made:
            failures = await made.tunnels.apply([to(a.link, a.tunnel())])
    finally:
        sh("umount /dev/net")
    assert "wireguard-go failed" in str(failures[a.link])
    assert "modprobe tun" in str(failures[a.link])


async def test_auto_takes_the_kernel_if_it_can(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    async with daemon(a, WireGuardOptions()) as made:
        supported = await made._context.kernel.supports("wireguard")
        await want(made, a.tunnel(), {})
        (state,) = await made.states()
    assert state.backend == ("kernel" if supported else "wireguard-go")


async def test_a_device_with_very_many_peers_is_read_whole(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    peers = {
        of(n, a.link): peer(str(IPv4Network((0x0A400000 + n, 32))), keepalive=25) for n in range(1, 1001)
    }
    async with daemon(a) as made:
        await want(made, a.tunnel(), peers)
        assert await made.peers.observe() == peers
        assert await want(made, a.tunnel(), peers) == 0


async def test_secrets_are_in_no_log_and_no_command_line(pair: tuple[Host, Host]) -> None:
    a, b = pair
    secret = a.directory / "psk"
    sh(f"wg genpsk > {secret}")
    async with daemon(a) as made:
        await want(made, a.tunnel(), to_reach(a, b, preshared_key_file=secret))
        log = made._context.log
        assert isinstance(log, RecordingLogger)
        wrong = to(attrs.evolve(of(1, a.link), public_key=peer_key(1)[:-4]), peer("10.0.0.1/32"))
        said = log.text() + str(await made.peers.apply([wrong])) + repr(await made.peers.dumps())
        said += repr(await made._backends.devices())
    (pid,) = programs(a.link)
    said += Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    device = a.tunnel().wireguard
    assert device is not None
    assert device.private_key_file is not None
    for file in (secret, device.private_key_file):
        key = read_key(file)
        for form in (file.read_text().strip(), key.hex(), repr(key)):
            assert form not in said
