"""Which fields a kind of link takes: what it does not take is an error, and never lost in silence."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import attrs
import pytest

from routerd.errors import NotOwnedError, PermanentError, TransientError
from routerd.kernel.link_fields import misfit
from routerd.model.names import LinkName
from routerd.model.tunnel import UdpEncapsulation
from routerd.spi import Link, LinkSpec
from routerd.testing.kernel import FakeKernel

T1 = LinkName("t1")
FIELDS: dict[str, Any] = {
    "local": IPv4Address("192.0.2.1"),
    "remote": IPv4Address("192.0.2.2"),
    "ttl": 64,
    "encapsulation": UdpEncapsulation(sport=1, dport=2),
}


def spec(kind: str, **fields: Any) -> LinkSpec:
    return LinkSpec(name=T1, kind=kind, owner="TunnelInterface/t1", mtu=1400, **fields)


@pytest.mark.parametrize("field", FIELDS)
def test_the_fields_of_tunnels_are_for_tunnels(field: str) -> None:
    given = {field: FIELDS[field]}
    assert misfit(spec("ipip", **given)) == misfit(spec("gre", **given)) == ""
    assert misfit(spec("vxlan", **given)) == (
        f"kind vxlan does not take {field}; use data for the kind's own attributes"
    )


def test_only_gre_has_a_key() -> None:
    assert misfit(spec("gre", key=0)) == ""
    assert misfit(spec("ipip", key=0)).startswith("kind ipip does not take key")
    assert misfit(spec("vxlan", key=0)).startswith("kind vxlan does not take key")


def test_data_is_for_the_other_kinds() -> None:
    assert misfit(spec("vxlan", data={"vxlan_id": 77})) == ""
    assert misfit(spec("gre", data={"gre_tos": 1})).startswith("kind gre does not take data")


def test_data_is_a_value_in_one_order() -> None:
    one = spec("vxlan", data={"vxlan_port": 4789, "vxlan_id": 77})
    other = spec("vxlan", data=[("vxlan_id", 77), ("vxlan_port", 4789)])
    assert one == other
    assert hash(one) == hash(other)
    assert one.data == (("vxlan_id", 77), ("vxlan_port", 4789))


async def test_the_fake_kernel_has_the_same_manners() -> None:
    kernel = FakeKernel(kinds=("vxlan",))
    with pytest.raises(PermanentError, match="link t1: kind vxlan does not take ttl"):
        await kernel.add_link(spec("vxlan", ttl=64))
    await kernel.add_link(spec("vxlan", data={"vxlan_id": 77}))
    assert (await kernel.links())[T1].data == (("vxlan_id", 77),)
    assert "vxlan_id 77" in kernel.dump()


async def test_a_link_without_our_alias_is_set_only_after_it_was_marked() -> None:
    bare = Link(name=T1, index=7, kind="tun", up=True, mtu=1500)
    kernel = FakeKernel([bare])
    with pytest.raises(NotOwnedError, match="it has no alias"):
        await kernel.set_link(T1, owner="TunnelInterface/t1", mtu=1400, addresses=())
    with pytest.raises(NotOwnedError):
        await kernel.mark_link(T1, index=8, owner="TunnelInterface/t1")
    assert (await kernel.links())[T1] == bare
    await kernel.mark_link(T1, index=7, owner="TunnelInterface/t1")
    await kernel.set_link(T1, owner="TunnelInterface/t1", mtu=1400, addresses=())
    assert (await kernel.links())[T1].owner == "TunnelInterface/t1"
    with pytest.raises(TransientError, match="does not exist"):
        await kernel.mark_link(LinkName("t2"), index=9, owner="TunnelInterface/t2")


async def test_a_marked_link_stays_its_owners() -> None:
    kernel = FakeKernel([Link(name=T1, index=7, kind="tun", up=True, mtu=1500, alias="somebody")])
    with pytest.raises(NotOwnedError, match="somebody"):
        await kernel.mark_link(T1, index=7, owner="TunnelInterface/t1")


def test_a_field_that_a_link_and_its_description_share_is_compared() -> None:
    one = spec("vxlan", data={"vxlan_id": 77})
    assert one != attrs.evolve(one, data={"vxlan_id": 78})
