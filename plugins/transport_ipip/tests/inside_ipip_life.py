"""How the relay lives and dies. Not collected: `test_ipip_userspace.py` runs it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import attrs
import pytest
from plugins.transport_ipip.tests.ipip_world import (
    MODES,
    PROVIDERS,
    USERSPACE,
    Host,
    cpu_seconds,
    daemon,
    has_ended,
    join,
    ping,
    popen,
    sh,
    tunnel,
    two_hosts,
    want,
)
from tests.support.waiting import until

import routerd_transport_ipip
from routerd.errors import NotOwnedError, PermanentError, TransientError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.spi import Link
from routerd.testing.context import as_read_only
from routerd.testing.live import real_kernel


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as made:
        yield made


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def links(host: Host) -> dict[LinkName, Link]:
    with host.here():
        return dict(await real_kernel().links())


def files(host: Host) -> set[str]:
    return {path.name for path in (host.directory / "run").iterdir()}


async def test_a_device_is_ours_up_and_as_wanted(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    link = (await links(a))[LinkName(f"t-{mode}")]
    assert (link.kind, link.up, link.alias) == ("tun", True, "routerd:TunnelInterface/to-b")
    assert link.mtu == 1500 - {"ipip": 20, "fou": 28, "gre": 24}[mode]


async def test_the_status_names_userspace_with_a_note(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    ping(a, b)
    async with daemon(a, mode) as made:
        with a.here():
            (state,) = await made.states()
    assert (state.backend, state.up) == ("userspace", True)
    assert "slower" in state.note
    assert state.tx_bytes > 0


async def test_the_next_pass_restores_a_killed_relay(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    async with daemon(a, mode) as made:
        context = made._context
        first = a.pid(mode)
        with a.here():
            assert await made.tunnels.observe()
        os.kill(first, signal.SIGKILL)
        until(lambda: has_ended(first), "the relay is dead")
        until_lost = 50
        while not context.wake.count:
            assert until_lost, "the daemon did not notice"
            until_lost -= 1
            await context.clock.advance(1)
        assert "relay.gone" in context.log.events("warning")
        with a.here():
            assert await made.tunnels.observe() == {}
        await want(a, made, tunnel(mode, a, b))
    assert a.pid(mode) != first
    assert " 0% packet loss" in ping(a, b)


DAEMON = """
import asyncio, sys
from plugins.transport_ipip.tests.ipip_world import *
async def main(mode):
    a, b = (Host(name=n, address=f"192.0.2.{i}", inner=f"10.255.0.{i}", directory=Path(d))
            for n, i, d in (("a", 1, sys.argv[2]), ("b", 2, sys.argv[2])))
    async with daemon(a, mode) as made:
        await want(a, made, tunnel(mode, a, b))
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(main(sys.argv[1]))
"""


async def test_a_killed_daemon_loses_no_packet_and_the_next_one_adopts(
    mode: str, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    async with daemon(b, mode) as made:
        await want(b, made, tunnel(mode, b, a))
    with popen([sys.executable, "-c", DAEMON, mode, str(a.directory)]) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
        relay = a.pid(mode)
        with a.here():
            answers = a.directory / "answers"
            pings = popen(["sh", "-c", f"exec ping -n -i 0.005 -w 60 {b.inner} > {answers}"])
        killed.kill()
    async with daemon(a, mode) as made:
        with a.here():
            assert await made.tunnels.observe() == {LinkName(f"t-{mode}"): tunnel(mode, a, b)}
        await want(a, made, tunnel(mode, a, b))
        # A hundred more pings arrive before the end.
        before = (await links(a))[LinkName(f"t-{mode}")].rx_bytes
        until(lambda: _rx(a, mode) > before + 100 * 84, "pings go on")
    pings.send_signal(signal.SIGINT)
    pings.communicate(timeout=10)
    numbers = [int(number) for number in re.findall(r"icmp_seq=(\d+)", answers.read_text())]
    assert len(numbers) > 100
    # Without regard to the end: the last answers may be on their way when ping ends.
    assert numbers == list(range(1, len(numbers) + 1))
    assert a.pid(mode) == relay


def _rx(host: Host, mode: str) -> int:
    return int(
        host.sh(f"ip -s -j link show t-{mode} | grep -o 'rx\":{{\"bytes\":[0-9]*' | grep -o '[0-9]*$'")
    )


async def test_the_relay_ends_with_its_last_tunnel_and_leaves_nothing(
    mode: str, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    async with daemon(a, mode) as made:
        one = tunnel(mode, a, b)
        two = tunnel(mode, a, b, link=LinkName("t-two"), remote=IPv4Address("192.0.2.3"), addresses=())
        await want(a, made, one, two)
        pid = a.pid(mode)
        await want(a, made, two)
        assert not has_ended(pid)
        await want(a, made)
        until(lambda: has_ended(pid), "the relay ends")
        assert files(a) == set()
        # And another one comes when it is needed again.
        await want(a, made, one)
    assert files(a) == {f"{mode}.sock"}


async def test_another_far_end_keeps_the_device(mode: str, hosts: tuple[Host, Host]) -> None:
    """Routes over the device and its addresses stay."""
    a, b = hosts
    b.sh(f"ip addr add 192.0.2.7/24 dev {b.wire}")
    async with daemon(a, mode) as made:
        await want(a, made, tunnel(mode, a, b))
        before = (await links(a))[LinkName(f"t-{mode}")].index
        await want(a, made, tunnel(mode, a, b, remote=IPv4Address("192.0.2.7"), ttl=9))
    assert (await links(a))[LinkName(f"t-{mode}")].index == before
    async with daemon(b, mode) as made:
        await want(b, made, tunnel(mode, b, a, local=IPv4Address("192.0.2.7")))
    assert " 0% packet loss" in ping(a, b)


async def test_an_unusable_far_end_leaves_the_tunnel_as_it_was(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    async with daemon(a, mode) as made:
        now = tunnel(mode, a, b)
        bad = attrs.evolve(now, remote=IPv4Address("203.0.113.1"))
        with a.here():
            failures = await made.tunnels.apply([Change(key=now.link, before=now, after=bad)])
            assert await made.tunnels.observe() == {now.link: now}
    assert isinstance(failures[now.link], TransientError)
    assert "no route leads to the remote address" in str(failures[now.link])
    assert " 0% packet loss" in ping(a, b)


async def test_a_deleted_device_is_made_again(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    async with daemon(a, mode) as made:
        with a.here():
            await made.tunnels.observe()
        pid = a.pid(mode)
        a.sh(f"ip link del t-{mode}")
        until(lambda: has_ended(pid), "the relay sees it; it was its last tunnel")
        with a.here():
            assert await made.tunnels.observe() == {}
        await want(a, made, tunnel(mode, a, b))
    assert " 0% packet loss" in ping(a, b)


async def test_a_deleted_device_is_no_work_for_the_relay(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    async with daemon(a, mode) as made:
        other = tunnel(mode, a, b, link=LinkName("t-two"), remote=IPv4Address("192.0.2.3"), addresses=())
        await want(a, made, tunnel(mode, a, b), other)
        a.sh(f"ip link del t-{mode}")
        until(lambda: len(a.ask(mode, do="list")) == 1, "the relay sees it")  # type: ignore[arg-type]
        pid = a.pid(mode)
        before = cpu_seconds(pid)
        for _ in range(20):
            a.ask(mode, do="hello")
        assert cpu_seconds(pid) - before < 0.2
        await want(a, made, tunnel(mode, a, b), other)


async def test_a_renamed_device_is_made_again(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    async with daemon(a, mode) as made:
        await want(a, made, tunnel(mode, a, b))
        a.sh(f"ip link set t-{mode} name elsewhere")
        await want(a, made, tunnel(mode, a, b))
    assert LinkName("elsewhere") not in await links(a)


async def test_a_device_without_its_alias_yet_is_ours(mode: str, hosts: tuple[Host, Host]) -> None:
    """A daemon that dies between making a device and marking it leaves this."""
    a, b = hosts
    async with daemon(a, mode) as made:
        wanted = tunnel(mode, a, b)
        with a.here():
            await made.tunnels._relay.add(wanted)
            observed = await made.tunnels.observe()
            assert set(observed) == {wanted.link}
            assert observed[wanted.link] != wanted
        await want(a, made, wanted)
        await want(a, made)


OUTDATED = """
import sys
sys.path.append(sys.argv.pop(1))
from routerd_transport_ipip import relay
relay.VERSION = 0
relay.main()
"""


async def test_a_relay_of_another_version_is_replaced(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    path = a.directory / "run" / f"{mode}.sock"
    path.parent.mkdir(exist_ok=True)
    home = Path(routerd_transport_ipip.__file__).parents[1]
    one = tunnel(mode, a, b)
    two = attrs.evolve(one, link=LinkName("t-two"), remote=IPv4Address("192.0.2.3"), addresses=())
    assert a.start([sys.executable, "-I", "-S", "-c", OUTDATED, str(home), mode, str(path)]) == "ready"
    for each in (one, two):
        ports = each.encapsulation
        sport, dport = (ports.sport, ports.dport) if ports else (0, 0)
        ends = {"local": str(each.local), "remote": str(each.remote), "sport": sport, "dport": dport}
        a.ask(mode, do="add", name=each.link, ttl=64, **ends)
    old = a.pid(mode)
    async with daemon(a, mode) as made:
        with a.here():
            assert set(await made.tunnels.observe()) == {one.link, two.link}
        await want(a, made, one)
        assert has_ended(old)
        assert LinkName("t-two") not in await links(a)


async def test_a_relay_survives_a_cleaned_run_directory(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    pid = a.pid(mode)
    shutil.rmtree(a.directory / "run")
    (a.directory / "run").mkdir()
    until((a.directory / "run" / f"{mode}.sock").exists, "the relay listens again")
    assert a.pid(mode) == pid
    async with daemon(a, mode) as made:
        with a.here():
            assert await made.tunnels.observe() == {LinkName(f"t-{mode}"): tunnel(mode, a, b)}


async def test_a_relay_whose_place_was_taken_ends(mode: str, hosts: tuple[Host, Host]) -> None:
    """Its devices would be in the way of the one that the daemon speaks with."""
    a, b = hosts
    await join(mode, a, b)
    old = a.pid(mode)
    path = a.directory / "run" / f"{mode}.sock"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as newcomer:
        newcomer.bind(str(path))
        until(lambda: has_ended(old), "the first relay leaves")
        assert path.exists()
    assert LinkName(f"t-{mode}") not in await links(a)
    path.unlink()


async def test_a_dry_run_starts_no_process_and_says_so(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    wanted = tunnel(mode, a, b)
    with a.here():
        made = PROVIDERS[mode].make(as_read_only(a.context), USERSPACE)
        await made.start()
        assert await made.tunnels.observe() == {}
        failures = await made.tunnels.apply([Change(key=wanted.link, before=None, after=wanted)])
        await made.aclose()
    assert "a dry run does not start it" in str(failures[wanted.link])
    assert files(a) == set()


async def test_two_tunnels_with_the_same_ends_are_refused(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    async with daemon(a, mode) as made:
        one = tunnel(mode, a, b)
        two = attrs.evolve(one, link=LinkName("t-two"), addresses=())
        await want(a, made, one)
        with a.here():
            failures = await made.tunnels.apply([Change(key=two.link, before=None, after=two)])
    assert isinstance(failures[two.link], PermanentError)
    assert f"tunnel t-two: tunnel {one.link} has the same two ends" in str(failures[two.link])


async def test_a_foreign_tun_device_is_an_error_and_stays(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    a.sh(f"ip tuntap add t-{mode} mode tun")
    wanted = tunnel(mode, a, b)
    async with daemon(a, mode) as made:
        with a.here():
            failures = await made.tunnels.apply([Change(key=wanted.link, before=None, after=wanted)])
            refused = failures[wanted.link]
            assert isinstance(refused, NotOwnedError)
            assert f"link t-{mode}: it exists and is not ours" in str(refused)
            with pytest.raises(TransientError, match="a device of that name exists"):
                await made.tunnels._relay.add(wanted)


async def test_a_stopped_relay_is_reported_and_nothing_is_changed(
    mode: str, hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = hosts
    await join(mode, a, b)
    monkeypatch.setattr("routerd_transport_ipip.link.DEADLINE", 0.2)
    pid = a.pid(mode)
    os.kill(pid, signal.SIGSTOP)
    try:
        async with daemon(a, mode) as made:
            with a.here(), pytest.raises(TransientError, match="did not answer"):
                await made.tunnels.observe()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert " 0% packet loss" in ping(a, b)


async def test_a_long_path_of_the_socket_is_explained(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    deep = a.directory / ("d" * 100)
    deep.mkdir()
    far = attrs.evolve(a, directory=deep)
    wanted = tunnel(mode, a, b)
    async with daemon(far, mode) as made:
        with a.here():
            failures = await made.tunnels.apply([Change(key=wanted.link, before=None, after=wanted)])
    assert "choose a shorter run directory" in str(failures[wanted.link])


async def test_the_relay_stays_small(mode: str, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    await join(mode, a, b)
    resident = int(sh(f"grep VmRSS /proc/{a.pid(mode)}/status").split()[1])
    assert resident < 16 << 10, f"{resident} KiB"
