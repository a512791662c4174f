"""`NetlinkKernel` on this host's kernel, each test's work in a namespace that ends with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.netns

_PREAMBLE = """
import asyncio, subprocess
from ipaddress import IPv4Interface
from routerd.errors import NotOwnedError, UnsupportedError
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
