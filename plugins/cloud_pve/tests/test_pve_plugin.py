"""The plugin cloud_pve as a whole: its hooks, its options, and how it reads a guest's routes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from routerd.testing.contracts import PluginContract
from routerd_cloud_pve import guest
from routerd_cloud_pve.config import Guest, PveOptions


class TestPlugin(PluginContract):
    """The suite that every plugin passes."""

    name = "cloud_pve"


GATEWAY = IPv4Address("10.99.9.1")


def options(**more: object) -> PveOptions:
    return PveOptions(host="pve.example", token_file=Path("token"), gateway=GATEWAY, **more)


def test_a_guest_is_named_once_and_is_not_the_router() -> None:
    with pytest.raises(ValueError, match="vmid 101 is there twice"):
        options(guests=(Guest(vmid=101, device="ens18"), Guest(vmid=101, device="ens19")))
    with pytest.raises(ValueError, match="vmid 100 is the router itself"):
        options(guests=(Guest(vmid=100, device="ens18"),), vmid=100)


@pytest.mark.parametrize("name", ["", "-batch", "/dev", " ens19"])
def test_a_device_that_could_be_an_option_of_ip_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a network device"):
        Guest(vmid=101, device=name)


def test_the_routes_of_a_guest_are_read_as_ip_prints_them() -> None:
    text = """[{"dst":"default","gateway":"192.168.1.1","dev":"ens18","protocol":"16","flags":[]},
    {"dst":"10.99.9.0/24","dev":"ens19","protocol":"2","scope":"253","prefsrc":"10.99.9.10","flags":[]},
    {"dst":"10.81.10.20","gateway":"10.99.9.1","dev":"ens19","protocol":"147","flags":[]}]"""
    default, connected, ours = guest.parse(text)
    assert default.prefix == IPv4Network("0.0.0.0/0")
    assert connected.gateway is None
    assert [route.is_ours(GATEWAY) for route in (default, connected, ours)] == [False, False, True]
    assert guest.parse("") == []


def test_names_of_protocols_are_never_taken_for_ours() -> None:
    text = '[{"dst":"10.81.10.20","gateway":"10.99.9.1","dev":"ens19","protocol":"static"}]'
    assert not guest.parse(text)[0].is_ours(GATEWAY)


def test_what_goes_stands_before_what_comes() -> None:
    one, other = IPv4Network("10.1.0.1/32"), IPv4Network("10.1.0.2/32")
    assert guest.batch([one], [other], GATEWAY, "ens19").splitlines() == [
        "route del 10.1.0.2/32 via 10.99.9.1 dev ens19 proto 147",
        "route add 10.1.0.1/32 via 10.99.9.1 dev ens19 proto 147",
    ]
