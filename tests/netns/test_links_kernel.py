"""`NetlinkKernel` on this host's kernel, each test's work in a namespace that ends with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.netns

_PREAMBLE = """
import asyncio, subprocess
import attrs
from ipaddress import IPv4Interface, IPv6Interface
from routerd.errors import NotOwnedError, PermanentError, UnsupportedError
from routerd.kernel.links import NetlinkKernel
from routerd.spi import LinkSpec
kernel = NetlinkKernel()
run = asyncio.run
def ip(*words): return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
def bridge(*addresses):
    return LinkSpec(name="rd0", kind="bridge", owner="Tunnel/a", mtu=1400,
                    addresses=tuple(map(IPv4Interface, addresses)))
"""


def _in_namespace(code: str) -> None:
    done = subprocess.run(
        ["unshare", "-Urnm", sys.executable, "-c", _PREAMBLE + code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_added_link_is_up_with_alias_mtu_and_addresses() -> None:
    _in_namespace("""
run(kernel.add_link(bridge("10.1.0.1/30")))
link = run(kernel.links())["rd0"]
assert (link.owner, link.up, link.mtu) == ("Tunnel/a", True, 1400), link
assert link.addresses == (IPv4Interface("10.1.0.1/30"),), link
""")


def test_set_link_gives_exactly_these_addresses() -> None:
    _in_namespace("""
run(kernel.add_link(bridge("10.1.0.1/30", "10.1.1.1/30")))
run(kernel.set_link("rd0", owner="Tunnel/b", mtu=1300, addresses=(IPv4Interface("10.1.2.1/30"),)))
link = run(kernel.links())["rd0"]
assert (link.owner, link.mtu) == ("Tunnel/b", 1300), link
assert link.addresses == (IPv4Interface("10.1.2.1/30"),), link
""")


def test_a_foreign_link_is_named_and_left_alone() -> None:
    _in_namespace("""
ip("link", "add", "rd0", "type", "bridge")
ip("link", "set", "rd0", "alias", "somebody")
before = ip("link", "show", "rd0")
for attempt in (lambda: kernel.add_link(bridge()), lambda: kernel.delete_link("rd0"),
                lambda: kernel.set_link("rd0", owner="Tunnel/a", mtu=1300, addresses=())):
    try:
        run(attempt())
    except NotOwnedError as error:
        assert "rd0" in str(error) and "somebody" in str(error), error
    else:
        raise AssertionError("a foreign link was touched")
assert ip("link", "show", "rd0") == before
""")


def test_a_link_left_unfinished_by_a_crash_is_made_anew() -> None:
    _in_namespace("""
ip("link", "add", "rd0", "type", "bridge")
run(kernel.add_link(bridge()))
assert run(kernel.links())["rd0"].owner == "Tunnel/a"
""")


def test_a_link_without_an_alias_is_nobodys_and_left_alone() -> None:
    _in_namespace("""
ip("link", "add", "rd0", "type", "bridge")
ip("address", "add", "10.9.0.1/24", "dev", "rd0")
before = ip("address", "show", "rd0")
try:
    run(kernel.set_link("rd0", owner="Tunnel/a", mtu=1300, addresses=()))
except NotOwnedError as error:
    assert "rd0" in str(error) and "no alias" in str(error), error
else:
    raise AssertionError("a foreign link was taken over")
assert ip("address", "show", "rd0") == before
""")


def test_a_link_of_our_own_program_is_marked_by_its_index() -> None:
    _in_namespace("""
ip("link", "add", "rd0", "type", "bridge")
index = run(kernel.links())["rd0"].index
run(kernel.mark_link("rd0", index=index, owner="Tunnel/a"))
assert run(kernel.links())["rd0"].owner == "Tunnel/a"
run(kernel.set_link("rd0", owner="Tunnel/a", mtu=1300, addresses=()))
ip("link", "add", "rd1", "type", "bridge")
for name, number in (("rd0", index), ("rd1", index)):
    try:
        run(kernel.mark_link(name, index=number, owner="Tunnel/b"))
    except NotOwnedError as error:
        assert name in str(error), error
    else:
        raise AssertionError(f"{name} was taken over")
""")


_VXLAN = """
def vxlan(**data):
    data = {"vxlan_id": 77, "vxlan_local": "10.0.0.1", "vxlan_group": "10.0.0.2", "vxlan_port": 4789, **data}
    return LinkSpec(name="rd0", kind="vxlan", owner="Tunnel/a", mtu=1400, data=data)
def refused(spec):
    try:
        run(kernel.add_link(spec))
    except PermanentError as error:
        assert "rd0" not in run(kernel.links())
        return str(error)
    raise AssertionError("made")
"""


def test_a_kind_that_the_core_does_not_use_is_made_by_its_attributes() -> None:
    _in_namespace(
        _VXLAN
        + """
run(kernel.add_link(vxlan()))
link = run(kernel.links())["rd0"]
assert (link.owner, link.up, link.kind, link.mtu) == ("Tunnel/a", True, "vxlan", 1400), link
assert set(vxlan().data) <= set(link.data), link
shown = ip("-d", "link", "show", "rd0")
assert "vxlan id 77 remote 10.0.0.2 local 10.0.0.1" in shown and "dstport 4789" in shown, shown
"""
    )


def test_nothing_of_a_link_gets_lost_in_silence() -> None:
    _in_namespace(
        _VXLAN
        + """
assert refused(vxlan(vxlan_colour=1)) == (
    "link rd0: kind vxlan has no attribute vxlan_colour; use the names of linux/if_link.h")
assert refused(vxlan(VXLAN_TTL=64)).startswith("link rd0: kind vxlan has no attribute VXLAN_TTL")
assert "vxlan_port 8472 of vxlan_port 0" in refused(vxlan(vxlan_port=0))
assert "routerd knows no attributes of kind dummy" in refused(
    LinkSpec(name="rd0", kind="dummy", owner="Tunnel/a", mtu=1400, data={"dummy_id": 1}))
assert refused(attrs.evolve(vxlan(), ttl=64, key=7)) == (
    "link rd0: kind vxlan does not take ttl, key; use data for the kind's own attributes")
"""
    )


def test_the_remainder_of_a_crash_is_one_with_the_same_attributes() -> None:
    _in_namespace(
        _VXLAN
        + """
ip(*"link add rd0 type vxlan id 78 local 10.0.0.1 remote 10.0.0.2 dstport 4789".split())
try:
    run(kernel.add_link(vxlan()))
except NotOwnedError:
    pass
else:
    raise AssertionError("a foreign link was replaced")
ip("link", "del", "rd0")
ip(*"link add rd0 type vxlan id 77 local 10.0.0.1 remote 10.0.0.2 dstport 4789".split())
run(kernel.add_link(vxlan()))
assert run(kernel.links())["rd0"].owner == "Tunnel/a"
"""
    )


def test_deleting_a_link_twice_is_a_success() -> None:
    _in_namespace("""
run(kernel.add_link(bridge()))
run(kernel.delete_link("rd0"))
run(kernel.delete_link("rd0"))
assert "rd0" not in run(kernel.links())
""")


def test_the_probe_for_a_kind_makes_nothing() -> None:
    _in_namespace("""
before = run(kernel.links())
assert run(kernel.supports("veth"))
assert not run(kernel.supports("nonsense"))
assert run(kernel.links()) == before
""")


def test_a_link_with_an_ipv6_address_is_refused_before_anything_is_made() -> None:
    _in_namespace("""
six = IPv6Interface("2001:db8::1/64")
try:
    run(kernel.add_link(attrs.evolve(bridge("10.1.0.1/30"), addresses=(IPv4Interface("10.1.0.1/30"), six))))
except UnsupportedError as error:
    assert str(error).startswith("link rd0: 2001:db8::1/64 is IPv6; "), error
else:
    raise AssertionError("it was made")
assert "rd0" not in run(kernel.links())
run(kernel.add_link(bridge("10.1.0.1/30")))
try:
    run(kernel.set_link("rd0", owner="Tunnel/a", mtu=1300, addresses=(six,)))
except UnsupportedError as error:
    assert str(error).startswith("link rd0: 2001:db8::1/64 is IPv6; "), error
else:
    raise AssertionError("it was set")
link = run(kernel.links())["rd0"]
assert (link.mtu, link.addresses) == (1400, (IPv4Interface("10.1.0.1/30"),)), link
""")
