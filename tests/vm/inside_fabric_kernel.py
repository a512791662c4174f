"""Tunnels of the kernel between two sites and a hub: what passes, and what a restart costs.

Not collected by itself: `test_fabric_kernel.py` runs it where a fabric may be built (`fabric_world`).
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.vm import fabric_world as world

LIMIT = 1400
ICMP_AND_IP = 28
MEGABYTE = 1 << 20
PATIENCE = 300.0
"""Seconds that anything may take: an emulated machine beside other work has a time of its own."""
EVERYTHING = (
    "ip -d link; ip addr; ip route show table all; ip rule; nft list ruleset; sysctl net.ipv4.ip_forward; "
    "sysctl -a -r rp_filter; wg show all allowed-ips | sort"
)


@pytest.fixture(scope="module", autouse=True)
def fabric() -> None:
    """Build it once; the tests leave it as they found it."""
    world.lay()
    world.by_routerd()
    # The hub learns from the leaves' first packets where they are.
    deadline = time.monotonic() + PATIENCE
    while " 0% packet loss" not in ping(100, count=1):
        assert time.monotonic() < deadline, world.inside("hub", "wg; ip route")


def ping(size: int, *, count: int = 3) -> str:
    """Ping from client to client with packets of `size` bytes that may not be fragmented."""
    data = size - ICMP_AND_IP
    done = subprocess.run(
        f"ip netns exec client-a ping -n -M do -c {count} -i 0.2 -W 60 -s {data} 10.1.2.2".split(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def forget_path_mtu() -> None:
    world.inside("client-a", "ip route flush cache")


def test_the_kernel_made_every_device() -> None:
    assert world.links("leaf-a") == ["ipip", "wireguard"]
    assert world.links("hub") == ["ipip", "ipip", "wireguard"]


def test_packets_up_to_the_limit_pass_and_one_byte_more_gets_the_right_icmp() -> None:
    forget_path_mtu()
    assert " 0% packet loss" in ping(LIMIT)
    said = ping(LIMIT + 1, count=1)
    assert re.search(rf"From 10\.1\.1\.1 .*Frag needed and DF set \(mtu = {LIMIT}\)", said), said


@contextmanager
def sink() -> Iterator[list[int]]:
    """Listen on client-b and count what arrives; the socket stays in the namespace it was made in."""
    made: list[socket.socket] = []

    def listen() -> None:
        _enter("client-b")
        made.append(socket.create_server(("10.1.2.2", 5001)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    received = [0]

    def count() -> None:
        connection, _ = made[0].accept()
        with connection:
            while data := connection.recv(65536):
                received[0] += len(data)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        yield received
    finally:
        counting.join(PATIENCE)
        made[0].close()


def connect() -> socket.socket:
    """Return a connection from client-a to the sink."""
    made: list[socket.socket] = []

    def dial() -> None:
        _enter("client-a")
        made.append(socket.create_connection(("10.1.2.2", 5001), timeout=PATIENCE))

    thread = threading.Thread(target=dial)
    thread.start()
    thread.join()
    return made[0]


def _enter(node: str) -> None:
    """Move the calling thread, and it alone, into a node (setns(2))."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{node}").open() as namespace:
        assert libc.setns(namespace.fileno(), 0x40000000) == 0


def test_a_megabyte_passes() -> None:
    forget_path_mtu()
    with sink() as received, connect() as connection:
        connection.sendall(bytes(MEGABYTE))
        connection.shutdown(socket.SHUT_WR)
    assert received == [MEGABYTE]


def test_tcp_does_not_stall_where_icmp_is_lost() -> None:
    hole = 'nft add table ip hole; nft "add chain ip hole i { type filter hook input priority 0; }"; '
    hole += 'nft "add rule ip hole i icmp type destination-unreachable counter drop"'
    forget_path_mtu()
    world.inside("client-a", hole)
    try:
        assert "Frag needed" not in ping(LIMIT + 1, count=1)
        with sink() as received, connect() as connection:
            connection.sendall(bytes(MEGABYTE))
            connection.shutdown(socket.SHUT_WR)
        assert received == [MEGABYTE]
    finally:
        world.inside("client-a", "nft delete table ip hole")


@contextmanager
def flows() -> Iterator[None]:
    """Keep a ping of 50 ms and a TCP transfer going; neither may lose anything."""
    words = ["ip", "netns", "exec", "client-a", "ping", "-n", "-i", "0.05", "-W", "60", "10.1.2.2"]
    with sink() as received, connect() as connection:
        pinging = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        ending = threading.Event()
        sent = [0]

        def send() -> None:
            while not ending.wait(0.02):
                connection.sendall(bytes(8192))
                sent[0] += 8192
            connection.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        try:
            yield
        finally:
            ending.set()
            sending.join(PATIENCE)
            pinging.send_signal(signal.SIGINT)
            said = pinging.communicate(timeout=PATIENCE)[0]
    # The last ones are still under way when it ends, the more of them the slower the machine.
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", said)}
    assert answered == set(range(1, max(answered) + 1)), said[-2000:]
    assert " 0% packet loss" in ping(100)
    assert received == sent
    assert sent[0] > 0


def test_a_run_killed_at_any_write_leaves_flows_alone_and_the_next_one_finishes() -> None:
    path = world.PLACE / "hub.yaml"
    usual = path.read_text()
    more = usual + world.more()
    before = _comparable(world.inside("hub", EVERYTHING))
    killer = world.Killer("hub")
    kills = 0
    try:
        with flows():
            # Each of the first writes, and then one of three: a run in an emulated machine takes its time.
            for number in (1, 2, 3, *range(5, 100, 3)):
                path.write_text(more)
                making = killer.run(number)
                assert making in {0, -signal.SIGKILL}
                assert killer.run() == 0
                assert "tun9" in world.inside("hub", "ip link")
                assert "10.20.0.9/32" in world.inside("hub", "wg")
                path.write_text(usual)
                removing = killer.run(number)
                assert removing in {0, -signal.SIGKILL}
                assert killer.run() == 0
                assert _comparable(world.inside("hub", EVERYTHING)) == before, f"killed at write {number}"
                kills += (making != 0) + (removing != 0)
                if making == removing == 0:
                    break
            else:
                pytest.fail("it never came to its end")
    finally:
        killer.close()
        path.write_text(usual)
    assert kills >= 6


def _comparable(text: str) -> str:
    """Leave out what counts and what is numbered."""
    text = re.sub(r"(?m)^\d+: ", "", text)
    text = re.sub(r"counter packets \d+ bytes \d+", "counter", text)
    return re.sub(r" # handle \d+", "", text)


def test_a_daemon_that_is_killed_and_started_anew_loses_nothing() -> None:
    def running() -> subprocess.Popen[bytes]:
        return subprocess.Popen(world.command("leaf-a"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ready() -> bool:
        done = subprocess.run(world.command("leaf-a", "status"), capture_output=True, check=False)
        return done.returncode == 0

    with flows():
        for _ in range(2):
            daemon = running()
            deadline = time.monotonic() + PATIENCE
            while not ready():
                assert daemon.poll() is None
                assert time.monotonic() < deadline
            daemon.kill()
            daemon.wait()
