"""The gate judges the world: each assertion fails for its own reason and names it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import attrs
import pytest

from routerd_lab import gate
from routerd_lab.enforce import Controls, Port
from routerd_lab.events import Check
from routerd_lab.matrix import Pair
from routerd_lab.topology import FULLMESH, PVE, Site
from routerd_lab.world import LearnedRoute, Session, World

RR = IPv4Address("10.255.0.0")


def controls(site: Site) -> Controls:
    ports = tuple(
        Port(
            device=node.primary.port,
            address=node.primary.address.ip,
            subnet="subnet",
            forwarding=node.is_router,
        )
        for node in site.nodes
    )
    leaf = site.leaf.primary.address.ip
    return Controls(ports=ports, tables={"subnet": dict.fromkeys(FULLMESH.remote_prefixes(site), leaf)})


def leaf_end(number: int) -> IPv4Address:
    return IPv4Address(f"10.255.0.{2 * number + 1}")


GOOD = World(
    sessions={
        "routerd-fullmesh-rr": tuple(
            Session(local=RR, remote=leaf_end(number), dialled=False) for number in range(4)
        ),
        **{
            leaf.name: (Session(local=leaf_end(number), remote=RR, dialled=True),)
            for number, leaf in enumerate(FULLMESH.leaves)
        },
    },
    routes={
        site.leaf.name: tuple(
            LearnedRoute(prefix=prefix, device="samt", gateway=RR)
            for prefix in FULLMESH.remote_prefixes(site)
        )
        for site in FULLMESH.sites
    }
    | {
        "routerd-fullmesh-rr": tuple(
            LearnedRoute(prefix=IPv4Network(site.client.owned or 0), device="samt", gateway=leaf_end(number))
            for number, site in enumerate(FULLMESH.sites)
        )
    },
    clouds={site.name: controls(site) for site in FULLMESH.sites if not site.masquerade},
    guest_routes=frozenset(FULLMESH.remote_prefixes(PVE)),
)
ALL_PAIRS = tuple(
    Pair(source=source.name, target=target.name, ping=True, ssh=True) for source, target in FULLMESH.pairs
)


def failing(world: World) -> list[Check]:
    return [check for check in gate.checks(FULLMESH, world) if not check.passed]


def test_a_fabric_that_is_as_it_should_be_passes() -> None:
    assert failing(GOOD) == []
    assert gate.converged(FULLMESH, GOOD)
    assert gate.check_pairs(FULLMESH, ALL_PAIRS).passed


def test_a_session_that_only_one_end_believes_in_does_not_count() -> None:
    lonely = attrs.evolve(GOOD, sessions={**GOOD.sessions, "routerd-fullmesh-rr": ()})
    (check,) = failing(lonely)
    assert "aws-leaf, azure-leaf, oci-leaf, pve-leaf" in check.detail


def test_a_route_missing_in_one_kernel_is_named_and_counts_as_not_accepted() -> None:
    routes = {**GOOD.routes, "aws-leaf": GOOD.routes["aws-leaf"][1:]}
    details = [check.detail for check in failing(attrs.evolve(GOOD, routes=routes))]
    assert details == ["not received everywhere: 10.82.10.20/32", "aws-leaf lacks 10.82.10.20/32"]


def test_a_checked_router_is_named() -> None:
    azure = GOOD.clouds["azure"]
    ports = tuple(
        attrs.evolve(port, forwarding=port.forwarding and port.device != "to-rr") for port in azure.ports
    )
    world = attrs.evolve(GOOD, clouds={**GOOD.clouds, "azure": attrs.evolve(azure, ports=ports)})
    (check,) = failing(world)
    assert check.detail == "routerd-fullmesh-rr is checked"


def test_a_missing_guest_route_is_named() -> None:
    world = attrs.evolve(GOOD, guest_routes=GOOD.guest_routes - {IPv4Network("10.83.10.20/32")})
    (check,) = failing(world)
    assert check.detail == "no route to 10.83.10.20/32"


def test_fewer_pairs_than_the_topology_has_never_pass() -> None:
    assert not gate.check_pairs(FULLMESH, ALL_PAIRS[1:]).passed


@pytest.mark.parametrize(("source", "target"), [("aws-client", "oci-client"), ("oci-client", "aws-client")])
def test_a_failing_pair_is_explained_by_the_route_that_it_lacks(source: str, target: str) -> None:
    oci = GOOD.clouds["oci"]
    table = {key: hop for key, hop in oci.tables["subnet"].items() if key != IPv4Network("10.81.10.20/32")}
    world = attrs.evolve(GOOD, clouds={**GOOD.clouds, "oci": attrs.evolve(oci, tables={"subnet": table})})
    broken = Pair(source=source, target=target, ping=False, ssh=False, detail="ping: lost")
    (pair,) = gate.explained(FULLMESH, [broken], world)
    assert "10.81.10.20/32 is not in the route table of oci" in pair.detail
    assert "aws-leaf" not in pair.detail


def test_counts_say_how_far_the_fabric_has_come() -> None:
    nothing = World(
        sessions={},
        routes={},
        clouds=dict.fromkeys(GOOD.clouds, Controls(ports=(), tables={})),
        guest_routes=frozenset(),
    )
    assert {count.have for count in gate.counts(FULLMESH, nothing)} == {0}
    good = gate.counts(FULLMESH, GOOD)
    assert good
    assert all(count.have == count.want for count in good)


def test_a_reflector_that_has_passed_a_route_on_and_not_installed_it_is_not_ready() -> None:
    early = attrs.evolve(GOOD, routes={**GOOD.routes, "routerd-fullmesh-rr": ()})
    (check,) = failing(early)
    assert check.name.startswith("4 routes accepted")
    assert "10.81.10.20/32" in check.detail
