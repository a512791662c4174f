"""The plugin keeps the contracts of a plugin and of a transport, and its own word."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from routerd_transport_vxlan import plugin
from routerd_transport_vxlan.config import VxlanTunnel, resolved

from routerd.errors import PermanentError, UnsupportedError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Opening, Tunnel
from routerd.spi import Link, NoOptions, PluginContext, TransportMode
from routerd.testing.context import make_context
from routerd.testing.contracts import Foreign, PluginContract, Samples, TransportContract, running
from routerd.testing.kernel import FakeKernel

SLOT = IPv4Interface("10.255.0.4/31")


def tunnel(name: str, **fields: Any) -> Tunnel:
    return attrs.evolve(
        Tunnel(
            link=LinkName(name),
            mode="vxlan",
            owner="TunnelInterface/x",
            mtu=1450,
            local=IPv4Address("192.0.2.1"),
            remote=IPv4Address("192.0.2.2"),
            addresses=(SLOT,),
            options=VxlanTunnel(vni=77),
        ),
        **fields,
    )


def foreign(context: PluginContext) -> Foreign[LinkName, Tunnel]:
    value = tunnel("taken")

    async def place() -> None:
        assert isinstance(context.kernel, FakeKernel)
        context.kernel.place(Link(name=value.link, index=77, kind="vxlan", up=True, mtu=1450))

    async def read() -> object:
        return (await context.kernel.links())[value.link]

    return Foreign(key=value.link, value=value, place=place, read=read)


class TestPlugin(PluginContract):
    name: ClassVar[str] = "transport_vxlan"


class TestTransport(TransportContract):
    @pytest.fixture
    def context(self, tmp_path: Path) -> PluginContext:
        return make_context(tmp_path, kernel=FakeKernel(kinds=("vxlan",)))

    @pytest.fixture
    def provider(self) -> TransportMode:
        return plugin.routerd_transports()[0]

    @pytest.fixture
    def samples(self, context: PluginContext) -> dict[str, Samples[Any, Any]]:
        one, two = tunnel("t1"), tunnel("t2", options=VxlanTunnel(vni=78, port=4790))
        long = tunnel("a-name-that-is-too-long")
        return {
            "tunnels": Samples(
                values={one.link: one, two.link: two},
                replacement={
                    one.link: attrs.evolve(one, options=VxlanTunnel(vni=79)),
                    two.link: attrs.evolve(two, mtu=1400),
                },
                refused={long.link: long},
                foreign=foreign(context),
            )
        }


def test_the_vni_of_a_pair_is_the_same_at_both_ends_and_another_ones_differs() -> None:
    automatic = VxlanTunnel()
    here, there, other = (
        resolved(tunnel("t1", options=automatic, addresses=(IPv4Interface(each),))).vni
        for each in ("10.255.0.4/31", "10.255.0.5/31", "10.255.0.6/31")
    )
    assert here == there != other
    assert here is not None
    assert 1 <= here < 1 << 24


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vni": 0}, "vni: 0 is not between 1 and 16777215"),
        ({"vni": 1 << 24}, "vni: 16777216 is not between"),
        ({"port": 0}, "port: 0 is not a port"),
    ],
)
def test_what_fits_into_no_packet_is_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VxlanTunnel(**options)


async def test_a_device_whose_inner_address_decides_the_vni_needs_no_second_change(tmp_path: Path) -> None:
    kernel = FakeKernel(kinds=("vxlan",))
    wanted = tunnel("t1", options=VxlanTunnel())
    context = make_context(tmp_path, kernel=kernel)
    async with running(plugin.routerd_transports()[0], context, NoOptions()) as made:
        change = Change(key=wanted.link, before=None, after=wanted)
        assert await made.tunnels.apply([change]) == {}
        (seen,) = (await made.tunnels.observe()).values()
        assert made.tunnels.agrees(wanted, seen)
        assert not made.tunnels.agrees(attrs.evolve(wanted, options=VxlanTunnel(port=4790)), seen)
        assert made.openings(wanted) == [Opening(protocol="udp", port=4789)]


@pytest.mark.parametrize(
    ("kinds", "fields", "error", "words"),
    [
        ((), {}, UnsupportedError, "tunnel t1: this kernel makes no VXLAN; run modprobe vxlan"),
        (("vxlan",), {"remote": None}, PermanentError, "it has no local and remote address"),
        (("vxlan",), {"options": VxlanTunnel(), "addresses": ()}, PermanentError, "set options.vni"),
    ],
)
async def test_what_cannot_be_made_is_said(
    tmp_path: Path, kinds: tuple[str, ...], fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    wanted = tunnel("t1", **fields)
    context = make_context(tmp_path, kernel=FakeKernel(kinds=kinds))
    async with running(plugin.routerd_transports()[0], context, NoOptions()) as made:
        failures = await made.tunnels.apply([Change(key=wanted.link, before=None, after=wanted)])
    assert isinstance(failures[wanted.link], error)
    assert words in str(failures[wanted.link])


async def test_a_link_of_another_plugin_is_left_to_it(tmp_path: Path) -> None:
    other = Link(
        name=LinkName("t1"), index=7, kind="gre", up=True, mtu=1400, alias="routerd:TunnelInterface/y"
    )
    kernel = FakeKernel([other], kinds=("vxlan",))
    context = make_context(tmp_path, kernel=kernel)
    async with running(plugin.routerd_transports()[0], context, NoOptions()) as made:
        wanted = tunnel("t1")
        failures = await made.tunnels.apply([Change(key=wanted.link, before=None, after=wanted)])
        assert "TunnelInterface/y has it as gre" in str(failures[wanted.link])
        assert await made.tunnels.apply([Change(key=wanted.link, before=wanted, after=None)]) == {}
    assert (await kernel.links())[wanted.link] == other
