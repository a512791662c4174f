"""Values survive JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, ip_network
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.addresses import IPAddress, IPInterface, IPNetwork, order
from routerd.model.claim import (
    AdmittedClaim,
    Claim,
    ClaimWireGuard,
    Reflector,
    ReflectorWireGuard,
    Topology,
)
from routerd.model.fabric import FabricRouteKey, InstanceFacts, RouteTableRef
from routerd.model.firewall import Accept
from routerd.model.moment import exact_text
from routerd.model.names import LinkName, PublicKey
from routerd.model.route import AddressKey, LearnedRoute, NextHop, RejectedRoute, Route, RouteKey, RouteSet
from routerd.model.session import Advertisement, Session
from routerd.model.tunnel import Endpoint, WireGuardPeer
from routerd.store.codec import dumps, from_json, loads, to_json

texts = st.text(max_size=30)
times = st.datetimes(min_value=datetime(1990, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy adds the zone
numbers = st.integers(0, 2**32 - 1)
router_ids = st.builds(IPv4Address, numbers)
addresses = router_ids | st.builds(IPv6Address, st.integers(0, 2**128 - 1))
networks = st.builds(ip_network, addresses)
interfaces = st.builds(IPv4Interface, st.tuples(numbers, st.integers(0, 32))) | st.builds(
    IPv6Interface, st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128))
)


@attrs.frozen(kw_only=True)
class Everything:
    networks: frozenset[IPNetwork]
    interface: IPInterface
    span: timedelta
    words: tuple[str, ...]


@given(
    st.builds(
        AdmittedClaim,
        claim=st.builds(
            Claim,
            **dict.fromkeys(("name", "policy_ref", "leaf_id", "tunnel_address", "join_nonce"), texts),
            owned_addresses=st.lists(texts, max_size=3).map(tuple),
            wireguard=st.none()
            | st.builds(ClaimWireGuard, public_key=texts.map(PublicKey), allowed_ips=st.just(("a", "b"))),
        ),
        admitted_at=times,
        expires_at=st.none() | times,
        source=st.none() | addresses,
    )
)
def test_an_admitted_claim_survives_json(admitted: AdmittedClaim) -> None:
    assert loads(dumps(admitted), AdmittedClaim) == admitted


@given(addresses, times, networks, router_ids)
def test_a_topology_survives_json(
    address: IPAddress, moment: datetime, network: IPNetwork, router_id: IPv4Address
) -> None:
    topology = Topology(
        rr_set="rrs",
        reflectors=(
            Reflector(node="plain", transport_address=address),
            Reflector(
                node="encrypted",
                transport_address=address,
                endpoint=address,
                tunnel_address=address,
                wireguard=ReflectorWireGuard(
                    public_key=PublicKey("key"),
                    endpoint=Endpoint(address=address, port=51820),
                    allowed_ips=(network,),
                ),
                asn=64512,
                router_id=router_id,
            ),
        ),
        fetched_at=moment,
    )
    assert loads(dumps(topology), Topology) == topology


@given(st.frozensets(networks, max_size=5), interfaces)
def test_equal_values_have_the_same_text(found: frozenset[IPNetwork], interface: IPInterface) -> None:
    value = Everything(networks=found, interface=interface, span=timedelta(seconds=90), words=("b", "a"))
    shuffled = attrs.evolve(value, networks=frozenset(sorted(found, key=order, reverse=True)))
    assert dumps(value) == dumps(shuffled)
    assert loads(dumps(value), Everything) == value


WRITTEN = Path(__file__).with_name("values_of_ipv4.jsonl")
"""What routerd wrote for the values below when they held IPv4 only."""


def keys_and_values(address: IPAddress, network: IPNetwork, interface: IPInterface) -> list[object]:
    table, link = RouteTableRef("t"), LinkName("l")
    return [
        FabricRouteKey(table=table, prefix=network),
        RouteKey(prefix=network),
        Route(next_hops=(NextHop(gateway=address),), source=address),
        AddressKey(link=link, address=interface),
        Accept(chain="input", source=network),
        Session(peer_asn=1, owner="o", source=address),
        Advertisement(owner="o", next_hop=address),
        RejectedRoute(prefix=network, neighbour=address, reason="r"),
        LearnedRoute(prefix=network, next_hop=address, neighbour=address),
        RouteSet(heard=frozenset({address})),
        WireGuardPeer(allowed_ips=frozenset({network}), endpoint=Endpoint(address=address, port=1)),
        InstanceFacts(provider="p", instance="i", nics=(), next_hop="n", networks=(network,)),
    ]


@given(addresses, networks, interfaces)
def test_every_value_with_an_address_survives_json(
    address: IPAddress, network: IPNetwork, interface: IPInterface
) -> None:
    for value in keys_and_values(address, network, interface):
        assert loads(dumps(value), type(value)) == value


def test_what_is_written_for_ipv4_has_not_changed() -> None:
    # Files of earlier programs hold these texts, and the journal finds a key by its text.
    address, network = IPv4Address("192.0.2.9"), IPv4Network("10.80.0.0/16")
    written = [dumps(each) for each in keys_and_values(address, network, IPv4Interface("10.255.0.1/31"))]
    assert written == WRITTEN.read_text().splitlines()


def test_untyped_values_become_plain_json() -> None:
    value = {"a": (IPv4Network("10.0.0.0/8"), None, True), "b": frozenset({"y", "x"})}
    assert to_json(value) == {"a": ["10.0.0.0/8", None, True], "b": ["x", "y"]}


def test_times_are_written_in_utc() -> None:
    there = datetime(2026, 1, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    assert exact_text(there) == "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("document", [{}, [], "x", {"claim": 3}, {"claim": {}, "admitted_at": "yesterday"}])
def test_another_shape_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="not of the type AdmittedClaim"):
        from_json(document, AdmittedClaim)
