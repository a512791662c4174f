"""The shipped examples: each is valid in both dialects, and no reflector's file names a leaf."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from routerd import config
from routerd.model import specs
from routerd.model.specs.rr_set import reflectors, static_reflectors, topology_document

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.yaml"))
LEAVES = [path for path in FILES if "leaf" in path.name]
REFLECTORS = [path for path in FILES if "leaf" not in path.name]
SITES = {"aws": "10.81.10.20/32", "azure": "10.82.10.20/32", "oci": "10.83.10.20/32", "pve": "10.99.9.10/32"}


def loaded(name: Path | str) -> config.Configuration:
    return config.load(EXAMPLES / name)


def test_both_dialects_have_a_file_for_every_router_of_the_fabric() -> None:
    fabric = {"fullmesh-rr.yaml", *(f"fullmesh-leaf-{site}.yaml" for site in SITES)}
    assert fabric <= {str(path) for path in FILES}
    assert {f"seed-dialect/{name}" for name in fabric} <= {str(path) for path in FILES}


@pytest.mark.parametrize("name", FILES, ids=str)
def test_the_example_is_valid_without_warnings(name: Path) -> None:
    assert loaded(name).warnings == ()


@pytest.mark.parametrize("name", FILES, ids=str)
def test_the_plugins_of_an_example_can_be_read_without_the_rest(name: Path) -> None:
    sections = loaded(name).plugins
    assert sections is not None
    document = config.read_document(EXAMPLES / name)
    assert config.plugin_names(document) == tuple(section.name for section in sections)


@pytest.mark.parametrize("name", REFLECTORS, ids=str)
def test_a_reflector_names_no_leaf(name: Path) -> None:
    found = loaded(name)
    assert not list(found.of(specs.SAMEnrollmentClaimSpec))
    assert not list(found.of(specs.BGPPeerSpec))
    assert not list(found.of(specs.WireGuardPeerSpec))


@pytest.mark.parametrize("name", LEAVES, ids=str)
def test_a_leaf_has_its_own_claim_and_an_enrollment_endpoint(name: Path) -> None:
    found = loaded(name)
    (claim,) = found.of(specs.SAMEnrollmentClaimSpec)
    (client,) = found.of(specs.SAMEnrollmentClientSpec)
    assert claim.spec.leaf_id == found.node
    assert client.spec.claim_ref == claim.id.ref
    assert client.spec.bootstrap_endpoints


@pytest.mark.parametrize("dialect", ["", "seed-dialect/"])
@pytest.mark.parametrize("site", SITES)
def test_a_leaf_fits_what_the_reflector_admits(dialect: str, site: str) -> None:
    (policy,) = loaded(f"{dialect}fullmesh-rr.yaml").of(specs.SAMEnrollmentPolicySpec)
    pools = loaded(f"{dialect}fullmesh-rr.yaml").of(specs.MobilityPoolSpec)
    (claim,) = loaded(f"{dialect}fullmesh-leaf-{site}.yaml").of(specs.SAMEnrollmentClaimSpec)
    assert claim.spec.mobility.owned_addresses == (SITES[site],)
    prefixes = (*policy.spec.mobility_prefixes, *(pool.spec.prefix for pool in pools))
    assert any(IPv4Network(SITES[site]).subnet_of(prefix) for prefix in prefixes)
    tunnel = IPv4Network(claim.spec.tunnel_address)
    assert any(tunnel.subnet_of(prefix) for prefix in policy.spec.tunnel_address_prefixes)
    assert claim.spec.join_audience == policy.spec.join_audience
    assert policy.spec.wire_guard is not None
    assert claim.spec.wire_guard is not None
    if claim.spec.wire_guard.endpoint:
        public = IPv4Network(claim.spec.wire_guard.endpoint.partition(":")[0])
        assert any(public.subnet_of(prefix) for prefix in policy.spec.wire_guard.endpoint_prefixes)
    else:
        assert site == "pve"


@pytest.mark.parametrize("site", SITES)
def test_only_the_enrollment_differs_between_the_dialects(site: str) -> None:
    later = {resource.id: resource for resource in loaded(f"fullmesh-leaf-{site}.yaml").resources}
    seed = {resource.id: resource for resource in loaded(f"seed-dialect/fullmesh-leaf-{site}.yaml").resources}
    assert later.items() <= seed.items()
    extra = seed.keys() - later.keys()
    assert {resource_id.kind for resource_id in extra} == {"MobilityPool", "SAMEnrollmentPolicy"}


@pytest.mark.parametrize("name", ["fullmesh-rr.yaml", "seed-dialect/fullmesh-rr.yaml"])
def test_a_leaf_reads_the_same_reflectors_from_either_dialect(name: str) -> None:
    intent = loaded(name).intent
    (policy,) = intent.of(specs.SAMEnrollmentPolicySpec)
    (reflector,) = reflectors(topology_document(intent, policy.spec))
    assert reflector.node == "routerd-fullmesh-rr"
    assert reflector.transport_address == IPv4Address("10.20.0.1")
    assert reflector.endpoint == IPv4Address("203.0.113.147")
    assert reflector.wireguard is not None
    assert str(reflector.wireguard.endpoint) == "203.0.113.147:51820"
    assert set(reflector.wireguard.allowed_ips) == {
        IPv4Network("10.20.0.1/32"),
        IPv4Network("10.255.16.1/32"),
    }


def test_a_set_in_the_file_has_its_reflectors_without_a_fetch() -> None:
    found = static_reflectors(loaded("seed-dialect/fullmesh-rr.yaml").intent)
    assert [reflector.node for reflector in found["fullmesh-rrs"]] == ["routerd-fullmesh-rr"]
