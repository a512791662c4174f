"""The plugin cloud_pve on the unmodified SDK, over HTTPS, against the emulated host."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, NicRef, RouteTableRef
from routerd.runtime.clock import SystemClock
from routerd.spi import Fabric, PluginContext, Provider
from routerd.testing.context import make_context
from routerd.testing.contracts import FabricContract, Foreign, Samples
from routerd_cloud_pve.config import Guest as GuestOptions
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.fabric import PveFabric
from routerd_cloud_pve.plugin import routerd_fabrics
from routerd_lab.certificates import Authority
from routerd_lab.clouds.pve import Ended, Guest, PveHost

pytestmark = pytest.mark.cloud

TOKEN = "routerd@pve!fabric=7a0c39b1-5d5e-4f5a-8d35-0f6a2f9f3c11"
GATEWAY = IPv4Address("10.99.9.1")
REMOTE = [IPv4Network(text) for text in ("10.81.10.20/32", "10.82.10.20/32", "10.83.10.20/32")]
TABLE = RouteTableRef("qemu/101")
UNREACHABLE = IPv4Network("10.90.0.1/32")


class Linux:
    """A guest's system, as far as its `ip` is asked: the table that `ip -batch` changes and `ip -j` shows."""

    def __init__(self) -> None:
        self.routes: dict[str, dict[str, str]] = {}
        self.broken = False
        self.commands: list[Sequence[str]] = []

    async def run(self, command: Sequence[str], text: str) -> Ended:
        self.commands.append(command)
        if self.broken:
            return Ended(status=127, err="ip: not found")
        if "show" in command:
            return Ended(status=0, out=json.dumps(list(self.routes.values())))
        errors = [said for line in text.splitlines() if (said := self._line(line.split()))]
        return Ended(status=1 if errors else 0, err="\n".join(errors))

    def _line(self, words: Sequence[str]) -> str:
        _, verb, prefix, *rest = words
        facts = dict(zip(rest[::2], rest[1::2], strict=True))
        name = prefix.removesuffix("/32")
        if verb == "del":
            return "" if self.routes.pop(name, None) else "RTNETLINK answers: No such process"
        if name in self.routes:
            return "RTNETLINK answers: File exists"
        if prefix == str(UNREACHABLE):
            return "Error: Nexthop has invalid gateway."
        self.routes[name] = {
            "dst": name, "gateway": facts["via"], "dev": facts["dev"], "protocol": facts["proto"],
        }  # fmt: skip
        return ""


class Home:
    """The emulated host and the systems of its guests."""

    def __init__(self) -> None:
        self.client, self.router = Linux(), Linux()
        self.host = PveHost(
            token=TOKEN,
            guests={
                100: Guest(name="pve-leaf", system=self.router, firewall={"enable": 1, "ipfilter": 1}),
                101: Guest(name="pve-client", system=self.client),
            },
        )

    def place_foreign(self, prefix: IPv4Network) -> None:
        name = str(prefix.network_address)
        self.client.routes[name] = {"dst": name, "gateway": "10.99.9.77", "dev": "ens19", "protocol": "4"}


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
    runner = web.AppRunner(home.host.app(), access_log=None)
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


def options(tmp_path: Path, *, vmid: int | None = 100, guests: Sequence[int] = (101,)) -> PveOptions:
    return PveOptions(
        host="pve.example",
        token_file=tmp_path / "token",
        ca_file=tmp_path / "ca.pem",
        gateway=GATEWAY,
        guests=tuple(GuestOptions(vmid=number, device="ens19") for number in guests),
        vmid=vmid,
    )


@pytest.fixture
async def fabric(home: Home, tmp_path: Path) -> AsyncIterator[PveFabric]:
    """A started fabric."""
    fabric = PveFabric(make_context(tmp_path, clock=SystemClock()), options(tmp_path))
    await fabric.start()
    yield fabric
    await fabric.aclose()


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


async def test_routes_are_made_in_one_command_and_a_second_apply_writes_nothing(
    fabric: PveFabric, home: Home
) -> None:
    changes = [create(prefix) for prefix in REMOTE]
    assert await fabric.routes.apply(changes) == {}
    assert set(home.client.routes) == {str(prefix.network_address) for prefix in REMOTE}
    assert await fabric.routes.observe() == dict.fromkeys(map(key, REMOTE), ROUTE)
    written = sum("-batch" in command for command in home.client.commands)
    assert await fabric.routes.apply(changes) == {}
    assert sum("-batch" in command for command in home.client.commands) == written == 1
    assert await fabric.routes.apply([delete(prefix) for prefix in REMOTE]) == {}
    assert home.client.routes == {}


async def test_a_restarted_guest_is_seen_to_lack_its_routes(fabric: PveFabric, home: Home) -> None:
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    home.client.routes.clear()
    assert await fabric.routes.observe() == {}


async def test_a_foreign_route_is_named_and_left_alone(fabric: PveFabric, home: Home) -> None:
    home.place_foreign(REMOTE[1])
    failures = await fabric.routes.apply([create(prefix) for prefix in REMOTE])
    assert set(failures) == {key(REMOTE[1])}
    assert isinstance(failures[key(REMOTE[1])], NotOwnedError)
    assert "10.99.9.77" in str(failures[key(REMOTE[1])])
    assert home.client.routes["10.82.10.20"]["gateway"] == "10.99.9.77"


async def test_the_ip_filter_goes_and_comes_back(fabric: PveFabric, home: Home) -> None:
    (nic,) = await fabric.forwarding.observe()
    off, on = Forwarding(enabled=False), Forwarding(enabled=True)
    assert await fabric.forwarding.observe() == {nic: off}
    assert await fabric.forwarding.apply([Change(key=nic, before=off, after=on)]) == {}
    assert home.host.guests[100].firewall == {"enable": 1, "ipfilter": 0}
    assert await fabric.forwarding.apply([Change(key=nic, before=on, after=off)]) == {}
    assert home.host.guests[100].firewall == {"enable": 1, "ipfilter": 1}


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        ("stopped", TransientError, "VM 101 is not running; start the guest"),
        ("agent", TransientError, "install qemu-guest-agent"),
        ("iproute2", TransientError, "is iproute2 installed in it"),
    ],
)
async def test_each_trouble_of_a_guest_is_said_with_what_to_do(
    fabric: PveFabric, home: Home, trouble: str, kind: type[ProviderError], words: str
) -> None:
    home.host.guests[101].running = trouble != "stopped"
    home.host.guests[101].agent = trouble != "agent"
    home.client.broken = trouble == "iproute2"
    with pytest.raises(kind, match=words if trouble != "iproute2" else "ip: not found"):
        await fabric.routes.observe()
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert isinstance(failures[key(REMOTE[0])], kind)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, PermanentError, "see tokenFile"),
        (403, PermanentError, "VM.GuestAgent"),
        (429, TransientError, "429"),
        (500, TransientError, "told to fail"),
        (596, TransientError, "596"),
    ],
)
async def test_each_refusal_of_the_api_has_its_meaning(
    fabric: PveFabric, home: Home, status: int, kind: type[ProviderError], words: str
) -> None:
    home.host.failures.fail_next("POST exec", status=status, code="")
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert isinstance(failures[key(REMOTE[0])], kind)
    assert words in str(failures[key(REMOTE[0])])
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}


@pytest.mark.parametrize("nth", range(1, 10))
async def test_when_the_nth_call_fails_the_next_pass_heals(home: Home, tmp_path: Path, nth: int) -> None:
    fabric = PveFabric(make_context(tmp_path, clock=SystemClock()), options(tmp_path))
    await fabric.start()
    home.host.failures.fail_call(nth, status=500, code="")

    async def converge() -> bool:
        try:
            await fabric.instance()
            observed = await fabric.forwarding.observe()
            on = Forwarding(enabled=True)
            switches = [Change(key=nic, before=now, after=on) for nic, now in observed.items() if now != on]
            failed = bool(await fabric.forwarding.apply(switches))
            present = await fabric.routes.observe()
            missing = [create(prefix) for prefix in REMOTE if key(prefix) not in present]
            return not await fabric.routes.apply(missing) and not failed
        except TransientError:
            return False

    outcomes = [await converge() for _ in range(2)]
    assert outcomes == [False, True]
    assert len(home.client.routes) == len(REMOTE)
    await fabric.aclose()


async def test_a_guest_that_the_token_cannot_see_is_named(home: Home, tmp_path: Path) -> None:
    fabric = PveFabric(make_context(tmp_path, clock=SystemClock()), options(tmp_path, guests=(101, 999)))
    await fabric.start()
    with pytest.raises(PermanentError, match=r"guest 999.*VM\.Audit"):
        await fabric.instance()
    await fabric.aclose()


@pytest.mark.parametrize("text", ["", "secret", "root@pam!x", "root@pam!=y", "root!x=y"])
async def test_a_token_file_that_holds_no_token_is_named_without_its_content(
    home: Home, tmp_path: Path, text: str
) -> None:
    (tmp_path / "token").write_text(text)
    fabric = PveFabric(make_context(tmp_path, clock=SystemClock()), options(tmp_path))
    with pytest.raises(PermanentError, match="USER@REALM!NAME=UUID") as caught:
        await fabric.start()
    assert "secret" not in str(caught.value)


async def test_an_untrusted_certificate_is_refused(home: Home, tmp_path: Path) -> None:
    other = Authority()
    other.write_certificate(tmp_path / "ca.pem")
    fabric = PveFabric(make_context(tmp_path, clock=SystemClock()), options(tmp_path))
    await fabric.start()
    with pytest.raises(PermanentError, match="set caFile"):
        await fabric.instance()
    await fabric.aclose()


async def test_a_dry_run_changes_nothing(home: Home, tmp_path: Path) -> None:
    context = make_context(tmp_path, read_only=True, clock=SystemClock())
    fabric = PveFabric(context, options(tmp_path))
    await fabric.start()
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert set(failures) == {key(REMOTE[0])}
    assert home.client.routes == {}
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
        return make_context(tmp_path, plugin="cloud_pve", clock=SystemClock())

    @pytest.fixture
    def samples(self, home: Home) -> Mapping[str, Samples[Any, Any]]:
        nic = NicRef("qemu/100")

        async def place() -> None:
            home.place_foreign(REMOTE[2])

        async def read() -> object:
            return home.client.routes.get("10.83.10.20")

        return {
            "forwarding": Samples(
                values={nic: Forwarding(enabled=True)},
                replacement={nic: Forwarding(enabled=False)},
                refused={NicRef("qemu/101"): Forwarding(enabled=True)},
            ),
            "routes": Samples(
                values={key(prefix): ROUTE for prefix in REMOTE[:2]},
                refused={key(UNREACHABLE): ROUTE},
                foreign=Foreign(key=key(REMOTE[2]), value=ROUTE, place=place, read=read),
            ),
        }
