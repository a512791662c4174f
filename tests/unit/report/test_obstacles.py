"""What stands in the way of overlay traffic on a host and is not routerd's to change."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import attrs
import pytest
from tests.support.modes import MODES

from routerd.errors import TransientError
from routerd.kernel.routes.lookup import RouteAnswer
from routerd.model.addresses import IPAddress
from routerd.model.change import DesiredTable
from routerd.model.names import LinkName, PublicKey
from routerd.model.route import NextHop
from routerd.model.tunnel import Endpoint, PeerKey, Tunnel, WireGuardPeer
from routerd.reconcile.desired import Desired
from routerd.report.obstacles import Obstacle, Obstacles
from routerd.spi import Link
from routerd.testing.faults import FaultPlan
from routerd.testing.kernel import FakeKernel

ADDRESS = (IPv4Interface("10.1.0.1/24"),)
T1 = Tunnel(link=LinkName("t1"), mode="ipip", owner="TunnelInterface/t1", mtu=1480, ttl=64)
TUNNELS = Desired(tables={"tunnels/ipip": DesiredTable(values={T1.link: T1})})
FORWARDS = Desired(tables={**TUNNELS.tables, "sysctls": DesiredTable(values={"net.ipv4.ip_forward": "1"})})
NOTHING = Desired(tables={"tunnels/ipip": DesiredTable()})


def link(
    name: str, *, up: bool = True, alias: str = "", addresses: tuple[IPv4Interface, ...] = ADDRESS
) -> Link:
    return Link(name=LinkName(name), index=7, kind="", up=up, mtu=1500, alias=alias, addresses=addresses)


class Filters:
    """Stands for the packet filters; says what it was told to."""

    closed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


class Host:
    """A directory that stands for /proc/sys, and links."""

    def __init__(self, root: Path, *links: Link, faults: FaultPlan | None = None) -> None:
        self.root = root
        self.filters = Filters()
        self.kernel = FakeKernel(links, faults=faults)
        self.set("ip_forward", 1)
        self.set("conf/all/rp_filter", 0)
        for each in ("lo", *(each.name for each in links)):
            self.set(f"conf/{each}/rp_filter", 0)

    def set(self, name: str, value: int) -> None:
        path = self.root / "net/ipv4" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")

    async def find(self, desired: Desired = FORWARDS) -> list[Obstacle]:
        asking = Obstacles(self.kernel, self.filters, modes=MODES, routes_to=self.routes_to, root=self.root)
        return list(await asking.find(desired))

    async def routes_to(self, addresses: Sequence[IPAddress]) -> list[RouteAnswer]:
        return [RouteAnswer(kind="unicast", next_hops=(NextHop(link=LinkName("eth0")),)) for _ in addresses]


async def test_a_strict_device_is_named_with_its_setting_and_the_remedy(tmp_path: Path) -> None:
    host = Host(tmp_path, link("eth0.100"), link("eth1"))
    host.set("conf/eth0.100/rp_filter", 1)
    (found,) = await host.find()
    assert found.link == "eth0.100"
    assert found.text == (
        "eth0.100: reverse path filtering is strict (net.ipv4.conf.eth0.100.rp_filter is 1); the kernel"
        " drops packets that arrive here from an address behind another device; to make it loose, add"
        ' a Sysctl with key net.ipv4.conf.eth0.100.rp_filter and value "2"'
    )


async def test_all_makes_every_device_strict_that_is_not_loose_itself(tmp_path: Path) -> None:
    host = Host(tmp_path, link("eth0"), link("eth1"), link("t1", alias="routerd:TunnelInterface/t1"))
    host.set("conf/all/rp_filter", 1)
    host.set("conf/t1/rp_filter", 2)
    host.set("conf/eth1/rp_filter", 2)
    (found,) = await host.find()
    assert found.link == "eth0"
    assert "(net.ipv4.conf.all.rp_filter is 1, which makes every device strict)" in found.text


@pytest.mark.parametrize(("everywhere", "own"), [(0, 0), (2, 1), (1, 2), (0, 2)])
async def test_the_larger_value_counts_and_two_is_loose(tmp_path: Path, everywhere: int, own: int) -> None:
    host = Host(tmp_path, link("eth0"))
    host.set("conf/all/rp_filter", everywhere)
    host.set("conf/eth0/rp_filter", own)
    assert await host.find() == []


async def test_devices_that_no_packet_of_ours_comes_through_are_not_spoken_of(tmp_path: Path) -> None:
    host = Host(tmp_path, link("down0", up=False), link("port0", addresses=()))
    host.set("conf/all/rp_filter", 1)
    assert await host.find() == []


async def test_a_tunnel_of_ours_that_somebody_made_strict_is_spoken_of(tmp_path: Path) -> None:
    host = Host(tmp_path, link("t1", alias="routerd:TunnelInterface/t1", addresses=()))
    host.set("conf/t1/rp_filter", 1)
    assert [each.link for each in await host.find()] == ["t1"]


async def test_without_tunnels_the_host_is_none_of_our_business(tmp_path: Path) -> None:
    host = Host(tmp_path, link("eth0"))
    host.set("conf/all/rp_filter", 1)
    host.set("ip_forward", 0)
    host.filters.closed = ("chain ip mine out",)
    assert await host.find(NOTHING) == []


async def test_a_host_that_forwards_nothing_and_is_not_told_to_is_spoken_of(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.set("ip_forward", 0)
    (found,) = await host.find(TUNNELS)
    assert "net.ipv4.ip_forward is 0" in found.text
    assert "router-linux" in found.text
    assert await host.find(FORWARDS) == []


async def test_a_chain_without_our_openings_is_spoken_of(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.filters.closed = ("chain inet mine out", "chain OUTPUT of iptables-legacy")
    assert [each.text.partition(": ")[0] for each in await host.find()] == [*host.filters.closed]


async def test_what_cannot_be_read_is_not_made_up(tmp_path: Path) -> None:
    host = Host(tmp_path, link("eth0"), faults=FaultPlan(1, TransientError("no answer")))
    host.set("conf/all/rp_filter", 1)
    assert await host.find() == []
    assert (
        await Obstacles(host.kernel, host.filters, modes=MODES, root=tmp_path / "none").find(FORWARDS) == ()
    )


async def test_a_foreign_line_that_nobody_can_read_is_quoted(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.filters.unread = ('iptables-nft, table filter: "-A X it\'s"',)
    (found,) = await host.find()
    assert "-A X it's" in found.text


@pytest.mark.parametrize(("below", "fits"), [(1500, True), (1400, False)])
async def test_a_tunnel_that_does_not_fit_the_device_below_is_spoken_of(
    tmp_path: Path, below: int, fits: bool
) -> None:
    host = Host(tmp_path, attrs.evolve(link("eth0"), mtu=below))
    plain = Tunnel(
        link=LinkName("t1"), mode="ipip", owner="TunnelInterface/t1", mtu=1480, ttl=64,
        remote=IPv4Address("192.0.2.1"),
    )  # fmt: skip
    wireguard = attrs.evolve(plain, link=LinkName("wg0"), mode="wireguard", mtu=1420, remote=None)
    peer = WireGuardPeer(
        allowed_ips=frozenset(), endpoint=Endpoint(address=IPv4Address("192.0.2.2"), port=51820)
    )
    key = PeerKey(link=LinkName("wg0"), public_key=PublicKey("k"))
    tables = {
        "tunnels/ipip": DesiredTable(values={plain.link: plain}),
        "tunnels/wireguard": DesiredTable(values={wireguard.link: wireguard}),
        "peers/wireguard": DesiredTable(values={key: peer}),
    }
    found = [each for each in await host.find(Desired(tables=tables)) if "MTU" in each.text]
    if fits:
        assert found == []
        return
    assert [each.link for each in found] == ["t1", "wg0"]
    assert "1500 bytes, and eth0 has an MTU of 1400" in found[0].text
    assert "set mtu: 1380 in TunnelInterface/t1" in found[0].text
    assert "192.0.2.2" in found[1].text
