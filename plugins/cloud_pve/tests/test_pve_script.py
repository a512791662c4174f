"""The guests in the options of the plugin cloud_pve, and how it reads and writes a guest's routes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import yaml

from routerd.config.structure import structure_options
from routerd_cloud_pve import script
from routerd_cloud_pve.config import Guest, PveOptions
from routerd_cloud_pve.inventory import parse

GATEWAY = IPv4Address("10.99.9.1")


def options(**more: object) -> PveOptions:
    return PveOptions(host="pve.example", token_file=Path("token"), gateway=GATEWAY, **more)


def test_a_guest_is_named_once_and_is_not_the_router() -> None:
    with pytest.raises(ValueError, match="vmid 101 is listed twice"):
        options(guests=(Guest(vmid=101, device="ens18"), Guest(vmid=101, device="ens19")))
    with pytest.raises(ValueError, match="vmid 100 is the router itself"):
        options(guests=(Guest(vmid=100, device="ens18"),), vmid=100)


@pytest.mark.parametrize("name", ["", "-batch", "/dev", " ens19", "a b", "a/b", "a" * 16])
def test_a_device_that_could_be_an_option_of_ip_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a network device"):
        Guest(vmid=101, device=name)


def read(text: str) -> tuple[object, list[str]]:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    value, problems = structure_options(node, PveOptions, file="f", resource="r", path="spec.options")
    return value, [str(problem) for problem in problems]


@pytest.mark.parametrize("name", ["fullmesh-leaf-pve.yaml", "clouds/leaf-pve.yaml"])
def test_the_options_are_those_of_the_examples(name: str) -> None:
    example = Path(__file__).parents[3] / "examples" / name
    document = yaml.safe_load(example.read_text())
    (profile,) = [each for each in document["spec"]["resources"] if each["kind"] == "CloudProviderProfile"]
    value, problems = read(yaml.safe_dump(profile["spec"]["options"]))
    assert problems == []
    assert isinstance(value, PveOptions)
    assert value.guests == (Guest(vmid=101, device="ens19"),)


SHOWN = """[{"type":"6","dst":"10.1.1.1","flags":[]},
{"dst":"default","gateway":"192.168.1.1","dev":"ens18","protocol":"16","flags":[]},
{"dst":"10.7.7.7","metric":50,"flags":[],"nexthops":[{"gateway":"10.99.9.1","dev":"ens19","weight":1},
{"gateway":"10.99.9.2","dev":"ens19","weight":1,"flags":[]}]},
{"dst":"10.7.7.8","via":{"family":"inet6","host":"fe80::1"},"dev":"ens19","protocol":"147","flags":[]},
{"dst":"10.81.10.20","gateway":"10.99.9.1","dev":"ens19","protocol":"147","flags":[]},
{"dst":"10.83.10.20","gateway":"10.99.9.77","dev":"ens19","flags":[]},
{"dst":"10.99.9.0/24","dev":"ens19","protocol":"2","scope":"253","prefsrc":"10.99.9.10","flags":[]}]"""
"""What iproute2 6.1 prints, the kinds of routes that are never ours included."""


def test_the_routes_of_a_guest_are_read_as_ip_prints_them() -> None:
    routes = parse(SHOWN)
    assert [route.prefix for route in routes if route.next_hop == str(GATEWAY)] == [
        IPv4Network("10.81.10.20/32")
    ]
    assert [str(route) for route in routes] == [
        "blackhole (protocol 3)",
        "192.168.1.1 (protocol 16)",
        "no device (protocol 3)",
        "dev ens19 (protocol 147)",
        "10.99.9.1 (protocol 147)",
        "10.99.9.77 (protocol 3)",
        "dev ens19 (protocol 2)",
    ]
    assert parse("") == parse("[ ]\n") == []


@pytest.mark.parametrize(
    "text", ["{}", "[1]", '[{"dst":"nowhere"}]', "[{}]", "[", '[{"dst":"1.2.3.4","gateway":"x"}]']
)
def test_what_is_no_list_of_routes_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are of json and ipaddress
        parse(text)


@pytest.mark.parametrize(("name", "is_ours"), [("static", False), ("bird", False), ("routerd", True)])
def test_names_of_protocols_are_not_taken_for_ours_but_our_own(name: str, is_ours: bool) -> None:
    text = f'[{{"dst":"10.81.10.20","gateway":"10.99.9.1","dev":"ens19","protocol":"{name}"}}]'
    assert (parse(text)[0].next_hop == str(GATEWAY)) is is_ours


ONE = IPv4Network("10.1.0.1/32")
OTHER, OURS = "10.99.9.2", str(GATEWAY)


def test_each_line_is_one_that_the_kernel_refuses_when_the_world_is_another() -> None:
    steps = [
        script.step(ONE, None, OURS, "ens19"),
        script.step(ONE, None, OURS, None),
        script.step(ONE, OURS, None, "ens19"),
        script.step(ONE, OTHER, OURS, "ens19"),
    ]
    assert script.script(steps).splitlines() == [
        "route add 10.1.0.1/32 via 10.99.9.1 dev ens19 proto 147",
        "route add 10.1.0.1/32 via 10.99.9.1 proto 147",
        "route del 10.1.0.1/32 via 10.99.9.1 proto 147",
        "route del 10.1.0.1/32 via 10.99.9.2 proto 147",
        "route add 10.1.0.1/32 via 10.99.9.1 dev ens19 proto 147",
        "route show",
    ]
    assert [step.to for step in steps] == [OURS, OURS, None, OURS]


def test_portions_keep_the_order_and_fit_into_a_request() -> None:
    many = [IPv4Network((int(IPv4Address("10.64.0.0")) + number, 32)) for number in range(3000)]
    wanted = [script.step(prefix, OTHER, OURS, "enp0s31f6") for prefix in many]
    portions = list(script.portions(wanted))
    assert [step for portion in portions for step in portion] == wanted
    assert max(len(quote_plus(script.script(portion))) for portion in portions) <= 49 * 1024
    assert len(portions) < 11
    assert list(script.portions([])) == []


def test_each_complaint_goes_to_the_prefix_whose_line_failed() -> None:
    prefixes = [IPv4Network(f"10.1.0.{number}/32") for number in range(1, 5)]
    portion = [
        script.step(prefixes[0], OTHER, OURS, None),
        *(script.step(prefix, None, OURS, "ens19") for prefix in prefixes[1:]),
    ]
    said = (
        "Error: Nexthop has invalid gateway.\nCommand failed -:2\n"
        "Command failed -:3\nRTNETLINK answers: File exists\nCommand failed -:5\nCommand failed -:9\n"
    )
    assert script.complaints(portion, said) == {
        prefixes[0]: "Error: Nexthop has invalid gateway.",
        prefixes[1]: "ip refused it",
        prefixes[3]: "RTNETLINK answers: File exists",
    }
    assert script.complaints(portion, "") == {}


@pytest.mark.parametrize(("kind", "called"), [("6", "blackhole"), ("unreachable", "unreachable"), ("2", "")])
def test_a_route_that_leads_nowhere_is_called_so(kind: str, called: str) -> None:
    (route,) = parse(f'[{{"type":"{kind}","dst":"10.1.1.1","protocol":"147","flags":[]}}]')
    assert route.drops == called
    assert route.next_hop == str(route)
