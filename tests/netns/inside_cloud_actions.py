"""Approving and undoing what a real daemon changes in a cloud, by its commands. Not collected:
`test_cloud_actions.py` runs it inside a user namespace of its own.

The cloud is the example plugin's: a JSON file. Routes come from a neighbour by BGP, whose every word is
the test's.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from tests.netns import daemon_world
from tests.netns.daemon_world import CONFIG, LOG, ROUTERD, SOCKET, sh
from tests.support.waiting import until_async

from routerd.control.client import request
from routerd.testing.bgp import Conversation, Open, Update, establish, path_attributes

EXAMPLE = Path(__file__).parents[1] / "thirdparty" / "example_plugin"
CLOUD = Path("/run/cloud.json")
ASN = 64577
NEIGHBOUR = IPv4Address("10.9.1.2")
BGP = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPRouter
      metadata: {name: fabric}
      spec: {asn: 64577, routerID: 10.9.1.1}
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPPeer
      metadata: {name: peers}
      spec:
        routerRef: BGPRouter/fabric
        peerASN: 64577
        peers: [10.9.1.2]
        passiveMode: true
        importPolicy:
          allowedPrefixes: [10.88.0.0/16]
          allowedPrefixLengthMin: 32
          allowedPrefixLengthMax: 32
"""
PROFILE = """\
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {name: files}
      spec:
        provider: static
        mode: %s
        removalHoldDown: 0s
        options: {file: /run/cloud.json, nextHop: nic-1}
"""

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the host, and install the example plugin beside what is installed."""
    for place in ("/run", "/var/lib"):
        sh(f"mount -t tmpfs tmpfs {place}")
    sh("ip link set lo up; ip netns add router; ip -n router link set lo up")
    sh("ip link add p1 type veth peer name r1 netns router; ip addr add 10.9.1.2/24 dev p1")
    sh("ip link set p1 up; ip -n router addr add 10.9.1.1/24 dev r1; ip -n router link set r1 up")
    ROUTERD[:0] = ["ip", "netns", "exec", "router"]
    site = tmp_path_factory.mktemp("site")
    (site / "routerd_fabric_static").symlink_to(EXAMPLE / "routerd_fabric_static")
    info = site / "routerd_fabric_static-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: routerd-fabric-static\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[routerd.plugins.v1]\nfabric_static = routerd_fabric_static.plugin\n"
    )
    os.environ["PYTHONPATH"] = str(site)
    yield
    del os.environ["PYTHONPATH"]


@pytest.fixture(autouse=True)
def cloud() -> None:
    sh("rm -rf /run/routerd /var/lib/routerd; ip -n router route flush proto 147")
    nic = {"address": "10.9.1.1", "forwarding": False}
    CLOUD.write_text(json.dumps({"nics": {"nic-1": nic}, "tables": {"main": {"0.0.0.0/0": "igw"}}}))


def content() -> tuple[bool, dict[str, str]]:
    """Return the switch and the routes of the cloud, without the one that is always there."""
    found = json.loads(CLOUD.read_text())
    routes = {prefix: hop for prefix, hop in found["tables"]["main"].items() if prefix != "0.0.0.0/0"}
    return found["nics"]["nic-1"]["forwarding"], routes


def write(mode: str) -> None:
    daemon_world.write(BGP, PROFILE % mode, plugins="bgp_ryu, fabric_static")


def ask(*words: str, status: int | None = 0) -> str:
    done = daemon_world.routerd(*words)
    assert status in (None, done.returncode), (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


async def listed() -> Any:
    """Return what the list shows; asked at the socket, because a command takes a second to start."""
    return await asyncio.to_thread(request, SOCKET, "GET", "/v1/actions")


async def status() -> Any:
    return await asyncio.to_thread(request, SOCKET, "GET", "/v1/status")


async def states(field: str = "open") -> list[str]:
    return [each["state"] for each in (await listed())[field]]


async def are(found: Awaitable[list[str]], wanted: list[str]) -> bool:
    return await found == wanted


async def is_phase(phase: str) -> bool:
    return str((await status())["phase"]) == phase


async def until(holds: Callable[[], Awaitable[bool] | bool], what: str) -> None:
    await until_async(holds, what, more=lambda: LOG.read_text()[-4000:])


def _started() -> subprocess.Popen[bytes]:
    with LOG.open("ab") as log:
        return subprocess.Popen(
            [*ROUTERD, "--config", str(CONFIG)], stderr=log, stdout=log, stdin=subprocess.DEVNULL
        )


@asynccontextmanager
async def router(mode: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    write(mode)
    process = _started()
    try:
        await until(SOCKET.exists, "started")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(300)
        # Its speaker outlives a daemon that was killed.
        sh("ip netns pids router | xargs -r kill -9")


async def neighbour(*hosts: str) -> Conversation:
    talk = await establish(NEIGHBOUR, IPv4Address("10.9.1.1"), 179, Open.of(ASN, NEIGHBOUR), deadline=30)
    reach = tuple(IPv4Network(host) for host in hosts)
    await talk.send(Update(attributes=path_attributes(NEIGHBOUR), reach=reach))
    await talk.send(Update())
    return talk


async def test_a_day_in_mode_approve() -> None:
    async with router("approve") as process:
        talk = await neighbour("10.88.1.1", "10.88.1.2")
        await until(lambda: are(states(), ["waiting"] * 3), "a switch and two routes wait")
        assert content() == (False, {})
        shown = ask("actions", "list")
        assert "add route 10.88.1.1/32 to nic-1 in table main" in shown
        assert "turn forwarding on for nic-1 (off before)" in shown
        assert shown.count("waits for approval") == 3
        plan = ask("plan", status=2)
        status = ask("status", status=3)
        assert "2 changes wait for approval (mode approve, see routerd actions list)" in status, status
        switch, first, second = (await listed())["open"]
        for each in (switch, first, second):
            assert f"waiting for approval: routerd actions approve {each['id']}" in plan, plan
        assert f"approved {first['id']}" in ask("actions", "approve", first["id"])
        await until(lambda: content() == (False, {"10.88.1.1/32": "nic-1"}), "the one that was approved")
        assert "change zzzz: not waiting here" in ask("actions", "approve", second["id"], "zzzz", status=1)
        ask("actions", "approve", "--all")
        wanted = {"10.88.1.1/32": "nic-1", "10.88.1.2/32": "nic-1"}
        await until(lambda: content() == (True, wanted), "all that waited")
        await until(lambda: is_phase("Ready"), "ready")
        made = (await listed())["journal"]
        number = next(each["number"] for each in made if each["prefix"] == "10.88.1.2/32")
        assert "would remove route 10.88.1.2/32" in ask("actions", "show", str(number))
        assert f"undone {number}: remove route 10.88.1.2/32" in ask("actions", "undo", str(number))
        assert content() == (True, {"10.88.1.1/32": "nic-1"})
        again = ask("actions", "undo", str(number), status=1)
        assert re.search(rf"(?m)^routerd: entry {number} was undone already, by entry \d+$", again), again
        await until(lambda: are(states(), ["held"]), "held")
        assert "1 change is held after an undo" in ask("status", status=3)
        assert "held after an undo" in ask("plan", status=2)
        process.kill()
        process.wait()
        await talk.aclose()
    # Nobody answers at the socket that the killed daemon has left: the state file does.
    offline = ask("actions", "list")
    assert "no daemon answers" in offline
    assert "held after an undo" in offline
    assert "undone by" in offline
    assert "would" in ask("actions", "show", str(number - 1))


async def test_mode_auto_leaves_alone_what_was_undone_until_it_is_released() -> None:
    async with router("auto"):
        talk = await neighbour("10.88.1.1")
        await until(lambda: content() == (True, {"10.88.1.1/32": "nic-1"}), "made by itself")
        await until(lambda: are(states("journal"), ["done"] * 2), "noted")
        number = next(each["number"] for each in (await listed())["journal"] if each["prefix"])
        ask("actions", "undo", str(number))
        ask("retry")
        await until(lambda: are(states(), ["held"]), "held")
        assert content() == (True, {})
        await talk.aclose()
    async with router("auto"):
        talk = await neighbour("10.88.1.1")
        await until(lambda: is_phase("Degraded"), "the neighbour is there")
        await until(lambda: are(states(), ["held"]), "held after a restart")
        assert content() == (True, {})
        ask("actions", "approve", (await listed())["open"][0]["id"])
        await until(lambda: content() == (True, {"10.88.1.1/32": "nic-1"}), "made again")
        # Somebody changes it by hand: an undo of what is no longer so does nothing and says why.
        await until(lambda: are(states("journal"), ["done"] * 4), "noted")
        number = (await listed())["journal"][-1]["number"]
        found = json.loads(CLOUD.read_text())
        found["tables"]["main"]["10.88.1.1/32"] = "nic-9"
        CLOUD.write_text(json.dumps(found))
        text = ask("actions", "undo", str(number), status=1)
        assert "there is now no route to this router; nothing was done" in text
        assert content() == (True, {"10.88.1.1/32": "nic-9"})
        await talk.aclose()
    ask("down", status=None)
    assert content() == (False, {"10.88.1.1/32": "nic-9"})


async def test_the_doctor_needs_no_daemon_and_names_what_does_not_answer() -> None:
    write("plan")
    before = CLOUD.read_text()
    shown = ask("doctor", "cloud")
    for words in (
        "files  cloud static, mode plan",
        "nic-1  10.9.1.1  primary  forwarding off",
        "routes to us",
    ):
        assert words in shown, shown
    assert CLOUD.read_text() == before
    assert not Path("/var/lib/routerd").exists()
    CLOUD.unlink()
    shown = ask("doctor", "cloud", "files", status=1)
    assert "missing  metadata service or login: route file /run/cloud.json" in shown, shown
    assert json.loads(ask("doctor", "cloud", "--json", status=1))["profiles"][0]["healthy"] is False
    refused = ask("doctor", "cloud", "nothing", status=2)
    assert "no CloudProviderProfile nothing; the file has files" in refused
