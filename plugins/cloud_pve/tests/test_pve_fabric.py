"""The plugin cloud_pve on the unmodified SDK, over HTTPS, against the emulated host."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, NicRef, RouteTableRef
from routerd.spi import Fabric, PluginContext, Provider
from routerd.testing.context import RecordingLogger, make_context
from routerd.testing.contracts import FabricContract, Foreign, Samples
from routerd_cloud_pve.config import Guest as GuestOptions
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.fabric import PveFabric
from routerd_cloud_pve.plugin import routerd_fabrics
from routerd_lab.certificates import Authority
from routerd_lab.clouds.pve import AGENT, AUDIT, NETWORK, PveHost
from routerd_lab.clouds.pve_guest import Ended, Guest, GuestKernel, KernelRoute

pytestmark = pytest.mark.cloud

TOKEN = "routerd@pve!fabric=7a0c39b1-5d5e-4f5a-8d35-0f6a2f9f3c11"
GATEWAY = IPv4Address("10.99.9.1")
REMOTE = [IPv4Network(text) for text in ("10.81.10.20/32", "10.82.10.20/32", "10.83.10.20/32")]
TABLE = RouteTableRef("qemu/101")


class SteppingClock:
    """A clock whose sleeps end at once and have taken their time; the tests wait for nothing."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        await asyncio.sleep(0)


class Home:
    """The emulated host and the systems of its guests."""

    def __init__(self) -> None:
        self.answer_with_pages = False
        self.mute = ""
        self.released = asyncio.Event()
        self.asked = 0
        self.client = GuestKernel({"ens18": "192.168.1.47/24", "ens19": "10.99.9.10/24"})
        self.other = GuestKernel({"ens18": "192.168.1.48/24", "ens19": "10.99.9.11/24"})
        self.host = PveHost(
            token=TOKEN,
            guests={
                100: Guest(
                    name="pve-leaf",
                    system=GuestKernel({"ens18": "192.168.1.43/24", "ens19": "10.99.9.1/24"}),
                    config={
                        "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
                        "net1": "virtio=BC:24:11:00:00:02,bridge=vmbr1,firewall=1",
                    },
                    firewall={"enable": 1, "ipfilter": 1},
                ),
                101: Guest(name="pve-client", system=self.client),
                102: Guest(name="pve-other", system=self.other),
            },
            # The least that the README asks for; any call beyond it would be refused.
            privileges={
                100: frozenset({AUDIT, NETWORK}),
                101: frozenset({AUDIT, AGENT}),
                102: frozenset({AUDIT, AGENT}),
            },
        )

    def place_foreign(self, prefix: IPv4Network, *, metric: int = 0) -> None:
        self.client.routes.append(
            KernelRoute(
                prefix=prefix,
                device="ens19",
                gateway=IPv4Address("10.99.9.77"),
                protocol=4,
                metric=metric,
            )
        )

    def ours(self, kernel: GuestKernel) -> set[IPv4Network]:
        return {route.prefix for route in kernel.routes if route.protocol == 147 and route.gateway == GATEWAY}


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Home]:
    """Run the host's API; its real name leads to it."""
    home = Home()
    authority = Authority()
    authority.write_certificate(tmp_path / "ca.pem")
    authority.write_server(tmp_path / "server.pem", ("pve.example",), IPv4Address("127.0.0.1"))
    (tmp_path / "token").write_text(TOKEN + "\n")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")
    app = home.host.app()

    @web.middleware
    async def another_server(request: web.Request, handler: Handler) -> web.StreamResponse:
        if home.mute and request.path.endswith("/exec"):
            home.asked += 1
            if home.mute == "hangs":
                await home.released.wait()
            assert request.transport is not None
            request.transport.abort()
        if home.answer_with_pages:
            return web.Response(text="<html>It works!</html>", content_type="text/html")
        return await handler(request)

    app.middlewares.append(another_server)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    port = runner.addresses[0][1]
    resolve = socket.getaddrinfo

    def redirected(host: Any, asked: Any, *args: Any, **kwargs: Any) -> Any:
        if (host, int(asked or 0)) == ("pve.example", 8006):
            return resolve("127.0.0.1", port, *args, **kwargs)
        return resolve(host, asked, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", redirected)
    for name in ("HTTPS_PROXY", "https_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    yield home
    for connection in runner.server.connections if runner.server else ():
        if connection.transport is not None:
            connection.transport.abort()
    await runner.cleanup()
    for _ in range(5):
        await asyncio.sleep(0)


def options(
    tmp_path: Path, *, vmid: int | None = 100, guests: Sequence[int] = (101,), ca: bool = True
) -> PveOptions:
    return PveOptions(
        host="pve.example",
        token_file=tmp_path / "token",
        ca_file=tmp_path / "ca.pem" if ca else None,
        gateway=GATEWAY,
        guests=tuple(GuestOptions(vmid=number, device="ens19") for number in guests),
        vmid=vmid,
    )


@contextlib.asynccontextmanager
async def started(
    tmp_path: Path, given: PveOptions, *, log: RecordingLogger | None = None
) -> AsyncIterator[PveFabric]:
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock(), log=log), given)
    await fabric.start()
    yield fabric
    await fabric.aclose()


@pytest.fixture
async def fabric(home: Home, tmp_path: Path) -> AsyncIterator[PveFabric]:
    """A started fabric."""
    async with started(tmp_path, options(tmp_path)) as fabric:
        yield fabric


def written(kernel: GuestKernel) -> int:
    return sum("-batch" in command for command in kernel.commands)


def key(prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=TABLE, prefix=prefix)


ROUTE = FabricRoute(next_hop=str(GATEWAY))


def create(prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    return Change(key=key(prefix), before=None, after=ROUTE)


def delete(prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    return Change(key=key(prefix), before=ROUTE, after=None)


async def test_the_facts_name_guests_and_gateway(fabric: PveFabric) -> None:
    facts = await fabric.instance()
    assert (facts.instance, facts.next_hop, facts.route_tables) == ("qemu/100", "10.99.9.1", ("qemu/101",))
    assert [nic.ref for nic in facts.nics] == ["qemu/100"]


async def test_without_a_number_of_our_own_there_is_no_switch(home: Home, tmp_path: Path) -> None:
    async with started(tmp_path, options(tmp_path, vmid=None)) as fabric:
        facts = await fabric.instance()
        assert (facts.instance, facts.nics) == ("pve.example", ())
        assert await fabric.forwarding.observe() == {}


async def test_our_own_guest_that_the_token_cannot_see_is_named(home: Home, tmp_path: Path) -> None:
    async with started(tmp_path, options(tmp_path, vmid=999)) as fabric:
        with pytest.raises(PermanentError, match=r"guest 999.*VM\.Audit"):
            await fabric.instance()


# --- routes -------------------------------------------------------------------------------------------


async def test_routes_are_made_in_one_command_and_a_second_apply_writes_nothing(
    fabric: PveFabric, home: Home
) -> None:
    changes = [create(prefix) for prefix in REMOTE]
    assert await fabric.routes.apply(changes) == {}
    assert home.ours(home.client) == set(REMOTE)
    assert {route.device for route in home.client.routes if route.prefix in REMOTE} == {"ens19"}
    assert await fabric.routes.observe() == dict.fromkeys(map(key, REMOTE), ROUTE)
    assert await fabric.routes.apply(changes) == {}
    assert written(home.client) == 1
    assert await fabric.routes.apply([delete(prefix) for prefix in REMOTE]) == {}
    assert home.ours(home.client) == set()


async def test_without_a_device_the_guest_finds_it(home: Home, tmp_path: Path) -> None:
    given = attrs.evolve(options(tmp_path), guests=(GuestOptions(vmid=101),))
    async with started(tmp_path, given) as fabric:
        assert await fabric.routes.apply([create(REMOTE[0])]) == {}
        made = home.client.find(REMOTE[0])
        assert made is not None
        assert made.device == "ens19"


async def test_a_device_that_the_guest_does_not_have_is_said(home: Home, tmp_path: Path) -> None:
    given = attrs.evolve(options(tmp_path), guests=(GuestOptions(vmid=101, device="eth9"),))
    async with started(tmp_path, given) as fabric:
        failures = await fabric.routes.apply([create(REMOTE[0])])
        assert 'guest 101 route 10.81.10.20/32: Cannot find device "eth9"' in str(failures[key(REMOTE[0])])


async def test_more_routes_than_one_request_takes_are_made_in_several(fabric: PveFabric, home: Home) -> None:
    many = [IPv4Network((int(IPv4Address("10.64.0.0")) + number, 32)) for number in range(2500)]
    assert await fabric.routes.apply([create(prefix) for prefix in many]) == {}
    assert home.ours(home.client) == set(many)
    assert 2 <= written(home.client) <= 8
    assert len(await fabric.routes.observe()) == 2500
    assert await fabric.routes.apply([delete(prefix) for prefix in many]) == {}
    assert home.ours(home.client) == set()


async def test_a_restarted_guest_is_seen_to_lack_its_routes(fabric: PveFabric, home: Home) -> None:
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    home.client.restart()
    assert await fabric.routes.observe() == {}
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    assert home.ours(home.client) == {REMOTE[0]}


async def test_a_guest_with_an_old_iproute2_is_served_too(fabric: PveFabric, home: Home) -> None:
    home.client.numeric = False
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    assert await fabric.routes.observe() == {key(REMOTE[0]): ROUTE}


async def test_a_foreign_route_is_named_and_left_alone(fabric: PveFabric, home: Home) -> None:
    home.place_foreign(REMOTE[1])
    failures = await fabric.routes.apply([create(prefix) for prefix in REMOTE])
    assert set(failures) == {key(REMOTE[1])}
    assert isinstance(failures[key(REMOTE[1])], NotOwnedError)
    assert "via 10.99.9.77, protocol 4" in str(failures[key(REMOTE[1])])
    failures = await fabric.routes.apply([delete(prefix) for prefix in REMOTE])
    assert set(failures) == {key(REMOTE[1])}
    standing = home.client.find(REMOTE[1])
    assert standing is not None
    assert standing.gateway == IPv4Address("10.99.9.77")


async def test_of_two_routes_to_a_prefix_the_one_that_is_used_counts(fabric: PveFabric, home: Home) -> None:
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    home.place_foreign(REMOTE[0], metric=50)
    assert await fabric.routes.observe() == {key(REMOTE[0]): ROUTE}
    assert await fabric.routes.apply([delete(REMOTE[0])]) == {}
    (left,) = [route for route in home.client.routes if route.prefix == REMOTE[0]]
    assert left.metric == 50


async def test_a_route_to_us_without_our_mark_is_foreign(fabric: PveFabric, home: Home) -> None:
    home.client.routes.append(KernelRoute(prefix=REMOTE[0], device="ens19", gateway=GATEWAY, protocol=4))
    assert await fabric.routes.observe() == {}
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert isinstance(failures[key(REMOTE[0])], NotOwnedError)


async def test_a_route_made_by_somebody_else_in_between_is_foreign(fabric: PveFabric, home: Home) -> None:
    run = home.client.run

    async def racing(command: Sequence[str], text: str) -> Ended:
        if "-batch" in command and home.client.find(REMOTE[0]) is None:
            home.place_foreign(REMOTE[0])
        return await run(command, text)

    home.client.run = racing  # type: ignore[method-assign] - the other writer comes between read and write
    failures = await fabric.routes.apply([create(prefix) for prefix in REMOTE])
    assert set(failures) == {key(REMOTE[0])}
    assert isinstance(failures[key(REMOTE[0])], NotOwnedError)
    assert home.ours(home.client) == set(REMOTE[1:])


async def test_a_route_that_becomes_foreign_before_its_deletion_stays(fabric: PveFabric, home: Home) -> None:
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    run = home.client.run

    async def racing(command: Sequence[str], text: str) -> Ended:
        if "-batch" in command:
            home.client.restart()
            home.place_foreign(REMOTE[0])
        return await run(command, text)

    home.client.run = racing  # type: ignore[method-assign] - as above
    # Ours is gone, which is what was asked for; the kernel refused to delete the other one.
    assert await fabric.routes.apply([delete(REMOTE[0])]) == {}
    standing = home.client.find(REMOTE[0])
    assert standing is not None
    assert standing.gateway == IPv4Address("10.99.9.77")


async def test_another_next_hop_and_another_guest_are_refused(fabric: PveFabric, home: Home) -> None:
    elsewhere = Change(key=key(REMOTE[0]), before=None, after=FabricRoute(next_hop="10.99.9.77"))
    failures = await fabric.routes.apply([elsewhere])
    assert isinstance(failures[key(REMOTE[0])], PermanentError)
    stranger = FabricRouteKey(table=RouteTableRef("qemu/102"), prefix=REMOTE[0])
    failures = await fabric.routes.apply([Change(key=stranger, before=None, after=ROUTE)])
    assert isinstance(failures[stranger], NotOwnedError)
    assert written(home.client) == written(home.other) == 0


# --- guests in trouble --------------------------------------------------------------------------------


TROUBLES = [
    ("stopped", "VM 101 is not running; start the guest"),
    ("agent", "QEMU guest agent is not running; install and start qemu-guest-agent"),
    ("unconfigured", "No QEMU guest agent configured; enable it: qm set"),
    ("blocked", "Command guest-exec has been disabled; allow guest-exec"),
    ("iproute2", "install iproute2 in the guest"),
    ("garbage", "its ip prints no JSON"),
    ("part", "kept only a part of its routes"),
    ("status", "ended with status 1, Dump terminated"),
]


def trouble(home: Home, what: str) -> None:
    guest = home.host.guests[101]
    guest.running = what != "stopped"
    guest.agent = what != "agent"
    guest.configured = what != "unconfigured"
    guest.blocked = frozenset({"guest-exec"} if what == "blocked" else ())
    home.client.installed = what != "iproute2"

    async def odd(command: Sequence[str], text: str) -> Ended:
        if what == "status":
            return Ended(status=1, err="Dump terminated\n")
        return Ended(status=0, out="{", truncated=what == "part")

    if what in ("garbage", "part", "status"):
        home.client.run = odd  # type: ignore[method-assign] - a guest with an odd `ip`


@pytest.mark.parametrize(("what", "words"), TROUBLES)
async def test_each_trouble_of_a_guest_is_said_with_what_to_do(
    fabric: PveFabric, home: Home, what: str, words: str
) -> None:
    trouble(home, what)
    with pytest.raises(TransientError) as caught:
        await fabric.routes.observe()
    assert words in str(caught.value)
    assert "guest 101" in str(caught.value)
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert isinstance(failures[key(REMOTE[0])], TransientError)
    assert words in str(failures[key(REMOTE[0])])


@pytest.mark.parametrize("what", [what for what, _ in TROUBLES] + ["removed"])
async def test_a_guest_in_trouble_keeps_no_other_from_being_served(
    home: Home, tmp_path: Path, what: str
) -> None:
    log = RecordingLogger()
    async with started(tmp_path, options(tmp_path, guests=(101, 102)), log=log) as fabric:
        await fabric.instance()
        trouble(home, what)
        if what == "removed":
            del home.host.guests[101]
        other = FabricRouteKey(table=RouteTableRef("qemu/102"), prefix=REMOTE[0])
        failures = await fabric.routes.apply(
            [create(REMOTE[0]), Change(key=other, before=None, after=ROUTE), create(REMOTE[1])]
        )
        assert set(failures) == {key(REMOTE[0]), key(REMOTE[1])}
        assert await fabric.routes.observe() == {other: ROUTE}
        assert await fabric.routes.observe() == {other: ROUTE}
        assert log.events("warning") == ["pve.guest.unserved"]


async def test_a_command_that_does_not_end_is_given_up(fabric: PveFabric, home: Home) -> None:
    async def hanging(command: Sequence[str], text: str) -> Ended:
        await asyncio.Event().wait()
        return Ended(status=0)

    home.client.run = hanging  # type: ignore[method-assign] - a guest that hangs
    with pytest.raises(TransientError, match="guest 101: ip did not end within 10 s"):
        await fabric.routes.observe()


async def test_a_guest_that_moved_to_another_node_is_found_again(fabric: PveFabric, home: Home) -> None:
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    home.host.node = "pve2"
    failures = await fabric.routes.apply([create(REMOTE[1])])
    assert isinstance(failures[key(REMOTE[1])], TransientError)
    assert await fabric.routes.observe() == {key(REMOTE[0]): ROUTE}
    assert await fabric.routes.apply([create(REMOTE[1])]) == {}


# --- the switch ---------------------------------------------------------------------------------------


ON, OFF = Forwarding(enabled=True), Forwarding(enabled=False)
NIC = NicRef("qemu/100")


async def test_the_ip_filter_goes_and_comes_back(fabric: PveFabric, home: Home) -> None:
    assert await fabric.forwarding.observe() == {NIC: OFF}
    change = Change(key=NIC, before=OFF, after=ON)
    assert await fabric.forwarding.apply([change]) == {}
    assert home.host.guests[100].firewall == {"enable": 1, "ipfilter": 0}
    assert await fabric.forwarding.observe() == {NIC: ON}
    assert await fabric.forwarding.apply([change]) == {}
    assert home.host.failures.calls.count("PUT options") == 1
    assert await fabric.forwarding.apply([Change(key=NIC, before=ON, after=OFF)]) == {}
    assert home.host.guests[100].firewall == {"enable": 1, "ipfilter": 1}


@pytest.mark.parametrize("where", ["guest", "nic"])
async def test_where_there_is_no_firewall_nothing_is_filtered(
    fabric: PveFabric, home: Home, where: str
) -> None:
    guest = home.host.guests[100]
    if where == "guest":
        guest.firewall["enable"] = 0
    else:
        guest.config["net1"] = "virtio=BC:24:11:00:00:02,bridge=vmbr1,firewall=0"
    assert await fabric.forwarding.observe() == {NIC: ON}
    assert await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)]) == {}
    assert "PUT options" not in home.host.failures.calls


async def test_an_ip_set_that_filters_is_named_and_left_alone(fabric: PveFabric, home: Home) -> None:
    home.host.guests[100].ipsets = ["ipfilter-net0", "ipfilter-net1", "management"]
    failures = await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)])
    assert isinstance(failures[NIC], NotOwnedError)
    # The NIC net0 has no firewall, so its set filters nothing.
    assert "IP set ipfilter-net1 drops" in str(failures[NIC])
    assert home.host.guests[100].firewall["ipfilter"] == 0
    assert await fabric.forwarding.observe() == {NIC: OFF}
    assert set(await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)])) == {NIC}
    assert home.host.failures.calls.count("PUT options") == 1
    assert len(home.host.guests[100].ipsets) == 3


# --- the API in trouble -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason", "kind", "words"),
    [
        (401, "invalid token value!", PermanentError, "into tokenFile"),
        (
            403,
            "Permission check failed",
            PermanentError,
            "VM.GuestAgent.Unrestricted (VM.Monitor before 9.0)",
        ),
        (400, "Parameter verification failed.", PermanentError, "check the options"),
        (501, "Method not implemented", PermanentError, "the host's version"),
        (429, "Too Many Requests", TransientError, "failed, 429"),
        (500, "got lock timeout", TransientError, "failed, 500 got lock timeout"),
        (500, "VM 101 qmp command 'guest-ping' failed - got timeout", TransientError, "agent hangs"),
        (595, "No route to host", TransientError, "check that node"),
        (596, "Connection timed out", TransientError, "check that node"),
        (599, "Too many redirections", TransientError, "check that node"),
    ],
)
async def test_each_refusal_of_the_api_has_its_meaning(
    fabric: PveFabric, home: Home, status: int, reason: str, kind: type[ProviderError], words: str
) -> None:
    home.host.failures.fail_next("POST exec", status=status, code=reason)
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert type(failures[key(REMOTE[0])]) is kind
    assert words in str(failures[key(REMOTE[0])])
    assert "pve guest 101" in str(failures[key(REMOTE[0])])
    assert TOKEN.partition("=")[2] not in str(failures[key(REMOTE[0])])
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}


async def test_a_missing_privilege_is_named(fabric: PveFabric, home: Home) -> None:
    home.host.privileges = {100: frozenset({AUDIT}), 101: frozenset({AUDIT})}
    with pytest.raises(PermanentError, match=r"Permission check failed \(/vms/101, VM.GuestAgent"):
        await fabric.routes.observe()
    failures = await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)])
    assert "/vms/100, VM.Config.Network" in str(failures[NIC])


@pytest.mark.parametrize("nth", range(1, 17))  # as many calls as a pass makes
async def test_when_the_nth_call_fails_the_next_pass_heals(home: Home, tmp_path: Path, nth: int) -> None:
    async with started(tmp_path, options(tmp_path)) as fabric:
        home.host.failures.fail_call(nth, status=500, code="")

        async def converge() -> bool:
            try:
                await fabric.instance()
                observed = await fabric.forwarding.observe()
                switches = [
                    Change(key=nic, before=now, after=ON) for nic, now in observed.items() if now != ON
                ]
                failed = bool(await fabric.forwarding.apply(switches))
                present = await fabric.routes.observe()
                missing = [create(prefix) for prefix in REMOTE if key(prefix) not in present]
                return not await fabric.routes.apply(missing) and not failed
            except TransientError:
                return False

        outcomes = [await converge() for _ in range(2)]
        assert outcomes == [False, True]
        assert home.ours(home.client) == set(REMOTE)
        assert home.host.guests[100].firewall["ipfilter"] == 0


async def test_a_host_that_does_not_answer_is_asked_once_and_not_for_each_guest(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(tmp_path, options(tmp_path, guests=(101, 102))) as fabric:
        await fabric.instance()
        asked = []

        def nowhere(*arguments: object, **_: object) -> Any:
            asked.append(arguments)
            raise socket.gaierror(socket.EAI_NONAME, "name unknown")

        await fabric.aclose()
        await fabric.start()  # with no connection that could be used again
        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
        with pytest.raises(TransientError, match="the host does not answer"):
            await fabric.routes.observe()
        asked.clear()
        other = FabricRouteKey(table=RouteTableRef("qemu/102"), prefix=REMOTE[0])
        failures = await fabric.routes.apply([create(REMOTE[0]), Change(key=other, before=None, after=ROUTE)])
        assert set(failures) == {key(REMOTE[0]), other}
        assert len(asked) == 1


async def test_a_host_that_falls_silent_is_not_asked_for_the_next_guest(home: Home, tmp_path: Path) -> None:
    async with started(tmp_path, options(tmp_path, guests=(101, 102))) as fabric:
        await fabric.instance()
        home.mute = "aborts"
        with pytest.raises(TransientError, match="guest 101: the host does not answer"):
            await fabric.routes.observe()
        assert home.asked == 1
        home.mute = ""
        assert await fabric.routes.observe() == {}


async def test_a_call_that_takes_too_long_is_given_up(
    fabric: PveFabric, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fabric.instance()
    home.mute = "hangs"
    monkeypatch.setattr("routerd_cloud_pve.client.DEADLINE_SECONDS", 0.2)
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert "the host does not answer, 0.2 s passed" in str(failures[key(REMOTE[0])])
    home.released.set()


async def test_closing_ends_the_connections(home: Home, tmp_path: Path) -> None:
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock()), options(tmp_path))
    await fabric.start()
    first = fabric.api
    closed = []
    first._sdk._store["session"].close = lambda: closed.append(True)
    await fabric.start()
    assert closed == [True]
    assert fabric.api is not first
    await fabric.aclose()
    await fabric.aclose()
    with pytest.raises(TransientError, match="not started yet"):
        await fabric.routes.observe()


async def test_another_kind_of_server_is_told_apart(home: Home, tmp_path: Path) -> None:
    async with started(tmp_path, options(tmp_path)) as fabric:
        home.answer_with_pages = True
        with pytest.raises(PermanentError, match="not one of Proxmox VE; check host and port"):
            await fabric.instance()


async def test_an_untrusted_certificate_is_refused(home: Home, tmp_path: Path) -> None:
    other = Authority()
    other.write_certificate(tmp_path / "ca.pem")
    async with started(tmp_path, options(tmp_path)) as fabric:
        with pytest.raises(PermanentError, match="set caFile"):
            await fabric.instance()
        assert home.host.failures.calls == []


@pytest.mark.parametrize(
    "text", ["", "secret", "root@pam!x", "root@pam!=y", "root!x=y", "a@b!c=d\nsecret", "é"]
)
async def test_a_token_file_that_holds_no_token_is_named_without_its_content(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "token").write_text(text)
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock()), options(tmp_path, ca=False))
    with pytest.raises(PermanentError, match="USER@REALM!NAME=UUID") as caught:
        await fabric.start()
    assert "secret" not in str(caught.value)


async def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock()), options(tmp_path))
    with pytest.raises(PermanentError, match=r"tokenFile .*/token: cannot be read, No such file"):
        await fabric.start()
    (tmp_path / "token").write_text(TOKEN)
    with pytest.raises(PermanentError, match=r"caFile .*/ca\.pem: there is no such file"):
        await fabric.start()


async def test_nothing_that_is_logged_has_the_token(home: Home, tmp_path: Path) -> None:
    log = RecordingLogger()
    async with started(tmp_path, options(tmp_path), log=log) as fabric:
        assert await fabric.routes.apply([create(REMOTE[0])]) == {}
        assert log.events("info") == ["pve.routes.changed"]
        assert TOKEN.partition("=")[2] not in log.text() + repr(fabric.api) + repr(fabric.options)


async def test_a_dry_run_changes_nothing(home: Home, tmp_path: Path) -> None:
    context = make_context(tmp_path, read_only=True, clock=SteppingClock())
    fabric = PveFabric(context, options(tmp_path))
    await fabric.start()
    assert await fabric.routes.observe() == {}
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert set(failures) == {key(REMOTE[0])}
    assert set(await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)])) == {NIC}
    assert home.ours(home.client) == set()
    assert home.host.guests[100].firewall["ipfilter"] == 1
    await fabric.aclose()


class TestContract(FabricContract):
    """The suite that every fabric passes."""

    @pytest.fixture
    def provider(self, home: Home) -> Provider[Fabric]:
        return routerd_fabrics()[0]

    @pytest.fixture
    def options(self, tmp_path: Path) -> PveOptions:
        return options(tmp_path)

    @pytest.fixture
    def context(self, tmp_path: Path) -> PluginContext:
        return make_context(tmp_path, plugin="cloud_pve", clock=SteppingClock())

    @pytest.fixture
    def samples(self, home: Home) -> Mapping[str, Samples[Any, Any]]:
        async def place() -> None:
            home.place_foreign(REMOTE[2])

        async def read() -> object:
            return home.client.find(REMOTE[2])

        return {
            "forwarding": Samples(values={NIC: ON}, replacement={NIC: OFF}, refused={NicRef("qemu/101"): ON}),
            "routes": Samples(
                values={key(prefix): ROUTE for prefix in REMOTE[:2]},
                refused={FabricRouteKey(table=RouteTableRef("qemu/102"), prefix=REMOTE[0]): ROUTE},
                foreign=Foreign(key=key(REMOTE[2]), value=ROUTE, place=place, read=read),
            ),
        }
