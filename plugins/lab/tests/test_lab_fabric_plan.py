"""What the fabric enforces follows from what the cloud holds, and from nothing else."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import attrs
import pytest

from routerd_lab.enforce import Controls, Enforcer, Port, plan

UPSTREAM = IPv4Address("198.18.0.1")
EVERYWHERE = IPv4Network("0.0.0.0/0")
REMOTE = IPv4Network("10.82.10.20/32")
LEAF = IPv4Address("10.81.10.10")

CHECKED = Controls(
    ports=(
        Port(device="to-leaf", address=LEAF, subnet="a", forwarding=False),
        Port(device="to-client", address=IPv4Address("10.81.10.20"), subnet="a", forwarding=False),
    ),
    tables={"a": {EVERYWHERE: None}},
)


def forwarding(controls: Controls, device: str) -> Controls:
    ports = tuple(attrs.evolve(port, forwarding=port.device == device) for port in controls.ports)
    return attrs.evolve(controls, ports=ports)


def routed(controls: Controls, prefix: IPv4Network, next_hop: IPv4Address) -> Controls:
    return attrs.evolve(controls, tables={"a": {**controls.tables["a"], prefix: next_hop}})


class Kernel:
    """Remembers the commands instead of running them."""

    def __init__(self) -> None:
        self.batches: list[str] = []
        self.scripts: list[str] = []

    async def __call__(self, *command: str, text: str) -> None:
        {"ip": self.batches, "nft": self.scripts}[command[0]].append(text)


def test_a_checked_nic_neither_sends_nor_receives_foreign_addresses() -> None:
    script = plan(CHECKED, UPSTREAM).filter
    for device, address in (("to-leaf", "10.81.10.10"), ("to-client", "10.81.10.20")):
        assert f'iifname "{device}" ip saddr != {address} counter drop' in script
        assert f'oifname "{device}" ip daddr != {address} counter drop' in script


def test_forwarding_lifts_the_check_of_that_nic_alone() -> None:
    script = plan(forwarding(CHECKED, "to-leaf"), UPSTREAM).filter
    assert "to-leaf" not in script
    assert '"to-client"' in script


def test_the_filter_is_replaced_in_one_transaction() -> None:
    script = plan(CHECKED, UPSTREAM).filter
    assert script.index("delete table ip lab_fabric") < script.index("table ip lab_fabric {")


def test_a_route_leads_to_the_nic_that_has_its_next_hop() -> None:
    routes = plan(routed(CHECKED, REMOTE, LEAF), UPSTREAM).routes
    assert routes["10.82.10.20/32 table 1000"] == "unicast via 10.81.10.10 dev to-leaf onlink"


def test_a_route_to_a_next_hop_that_is_gone_drops() -> None:
    routes = plan(routed(CHECKED, REMOTE, IPv4Address("10.81.10.99")), UPSTREAM).routes
    assert routes["10.82.10.20/32 table 1000"] == "blackhole"


def test_what_no_route_matches_never_falls_through_to_the_fabrics_own_table() -> None:
    routes = plan(attrs.evolve(CHECKED, tables={"a": {}}), UPSTREAM).routes
    assert routes["default metric 4294967295 table 1000"] == "blackhole"
    assert "0.0.0.0/0 table 1000" not in routes


def test_each_nic_is_routed_by_the_table_of_its_subnet() -> None:
    other = Port(device="to-other", address=IPv4Address("10.81.20.5"), subnet="b", forwarding=False)
    controls = attrs.evolve(CHECKED, ports=(*CHECKED.ports, other), tables={"a": {}, "b": {}})
    rules = plan(controls, UPSTREAM).rules
    assert [rule.split(" iif ")[1] for rule in rules] == [
        "to-client lookup 1000",
        "to-leaf lookup 1000",
        "to-other lookup 1001",
    ]


async def test_the_same_controls_change_nothing_twice() -> None:
    kernel = Kernel()
    enforcer = Enforcer(UPSTREAM, kernel)
    assert await enforcer.apply(CHECKED)
    assert not await enforcer.apply(CHECKED)
    assert (len(kernel.batches), len(kernel.scripts)) == (1, 1)


async def test_a_new_next_hop_replaces_the_route_without_removing_it_first() -> None:
    kernel = Kernel()
    enforcer = Enforcer(UPSTREAM, kernel)
    await enforcer.apply(routed(CHECKED, REMOTE, LEAF))
    await enforcer.apply(routed(CHECKED, REMOTE, IPv4Address("10.81.10.20")))
    assert kernel.batches[1].splitlines() == [
        "route replace unicast 10.82.10.20/32 table 1000 via 10.81.10.20 dev to-client onlink"
    ]


async def test_a_route_that_is_gone_from_the_api_is_removed() -> None:
    kernel = Kernel()
    enforcer = Enforcer(UPSTREAM, kernel)
    await enforcer.apply(routed(CHECKED, REMOTE, LEAF))
    await enforcer.apply(CHECKED)
    assert kernel.batches[1].splitlines() == ["route del 10.82.10.20/32 table 1000"]


@pytest.mark.parametrize("device", ["to-leaf", "to-client"])
async def test_switching_the_check_touches_the_filter_and_no_route(device: str) -> None:
    kernel = Kernel()
    enforcer = Enforcer(UPSTREAM, kernel)
    await enforcer.apply(CHECKED)
    await enforcer.apply(forwarding(CHECKED, device))
    assert (len(kernel.batches), len(kernel.scripts)) == (1, 2)
