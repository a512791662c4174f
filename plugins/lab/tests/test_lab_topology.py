"""The topology is the recorded test's, uses no real address, and its picture shows all of it."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from routerd_lab.evidence import check_boundary
from routerd_lab.graph import draw
from routerd_lab.routers import PLACEHOLDER, Disks, example, from_examples, make_keys
from routerd_lab.topology import FULLMESH, MIXED, PUBLIC_RANGES, TOPOLOGIES, UPLINK, Topology
from routerd_lab.underlay import internet_rules, node_commands, public_rules, wires


def test_twelve_directed_pairs_of_four_clients() -> None:
    assert len(FULLMESH.pairs) == 12
    assert len({(source.name, target.name) for source, target in FULLMESH.pairs}) == 12


def test_public_addresses_are_documentation_addresses_inside_their_sites_range() -> None:
    public = [
        (site, nic.public) for site, node in FULLMESH.nodes() for nic in node.nics if nic.public is not None
    ]
    assert public
    for site, address in public:
        assert address in site.public
    assert all(any(site.public.subnet_of(each) for each in PUBLIC_RANGES) for site in FULLMESH.sites)


def test_no_two_sites_share_a_public_range() -> None:
    ranges = [site.public for site in FULLMESH.sites]
    assert ranges
    assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)


def test_device_names_fit_the_kernel_and_are_unique_in_their_machine() -> None:
    ends = [end for a, b, c, d in wires(FULLMESH) for end in ((a, b), (c, d))]
    assert ends
    assert len(ends) == len(set(ends))
    assert all(0 < len(device) <= 15 for _, device in ends)


def test_the_pve_client_has_its_default_route_by_way_of_the_home_router() -> None:
    client = FULLMESH.site_of("pve-client").client
    (default,) = [line for line in node_commands(client) if "default" in line]
    assert "192.168.1.1 dev ens18" in default


def test_the_internet_carries_documentation_ranges_only() -> None:
    rules = internet_rules()
    assert "policy drop" in rules
    assert PUBLIC_RANGES
    for network in PUBLIC_RANGES:
        assert str(network) in rules


def test_a_clouds_public_addresses_are_mapped_without_state() -> None:
    rules = public_rules(FULLMESH.site_of("aws-leaf"))
    assert f'iifname "{UPLINK}" ip daddr set ip daddr map {{ 198.51.100.59 : 10.81.10.10 }}' in rules
    assert "type nat" not in rules


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_every_router_has_an_example_that_takes_its_key(topology: Topology) -> None:
    assert topology.routers
    for node in topology.routers:
        document = yaml.safe_load(example(topology, node))
        assert document["metadata"]["name"] == node.name
        kinds = {each["kind"] for each in document["spec"]["resources"]}
        assert (PLACEHOLDER in example(topology, node)) == ("WireGuardInterface" in kinds)


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_examples_and_topology_agree_on_what_each_leaf_owns(topology: Topology) -> None:
    assert topology.sites
    for site in topology.sites:
        document = yaml.safe_load(example(topology, site.leaf))
        (claim,) = [each for each in document["spec"]["resources"] if each["kind"] == "SAMEnrollmentClaim"]
        assert claim["spec"]["mobility"]["ownedAddresses"] == [str(IPv4Network(site.client.owned or 0))]


def test_the_boundary_check_finds_a_leaf_in_the_reflectors_file(tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    disks = Disks(run_dir=tmp_path, hosts="", environment={})
    disks.write(FULLMESH, "token", from_examples(FULLMESH))
    assert check_boundary(FULLMESH, disks).passed
    path = disks.config(FULLMESH.routers[0])
    document = yaml.safe_load(path.read_text())
    document["spec"]["resources"].append({"kind": "BGPPeer", "metadata": {"name": "aws-leaf"}})
    path.write_text(yaml.safe_dump(document))
    check = check_boundary(FULLMESH, disks)
    assert not check.passed
    assert "1 BGPPeer" in check.detail


def test_routers_of_a_private_network_are_on_one_wire_with_their_own_addresses() -> None:
    (wan,) = MIXED.wans
    assert wan.members
    laid = {(there, device) for here, _, there, device in wires(MIXED) if here == wan.name}
    assert laid == {(name, "wan0") for name in wan.members}
    picture = draw(MIXED)
    for _, node in MIXED.nodes():
        if node.name in wan.members:
            assert f"address add {wan.members[node.name]} dev wan0" in node_commands(node, MIXED.wans)
            assert f"wan0 {wan.members[node.name].ip}" in picture
    assert picture.count('class="clear"') == 3  # two tunnels and the legend


def test_secrets_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    disks = Disks(run_dir=tmp_path, hosts="", environment={})
    disks.write(FULLMESH, "token", from_examples(FULLMESH))
    found = [path for path in tmp_path.glob("nodes/*/*/secrets/*") if path.is_file()]
    assert len(found) == 11
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert {path.parent.stat().st_mode & 0o777 for path in found} == {0o700}


def test_keys_are_not_printed() -> None:
    keys = make_keys()
    assert keys.private not in repr(keys)


def test_the_picture_is_well_formed_and_names_every_machine() -> None:
    root = ET.fromstring(draw(FULLMESH))
    words = {element.text for element in root.iter() if element.text}
    assert {node.name for _, node in FULLMESH.nodes()} <= words
    tunnels = [element for element in root.iter() if element.get("class") == "tunnel"]
    assert len(tunnels) == 4 + 1
