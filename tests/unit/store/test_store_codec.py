"""Values survive JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.claim import (
    AdmittedClaim,
    Claim,
    ClaimWireGuard,
    Reflector,
    ReflectorWireGuard,
    Topology,
)
from routerd.model.moment import exact_text
from routerd.model.names import PublicKey
from routerd.model.tunnel import Endpoint
from routerd.store.codec import dumps, from_json, loads, to_json

texts = st.text(max_size=30)
times = st.datetimes(min_value=datetime(1990, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy adds the zone
addresses = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
networks = st.builds(IPv4Network, addresses)


@attrs.frozen(kw_only=True)
class Everything:
    networks: frozenset[IPv4Network]
    interface: IPv4Interface
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
    )
)
def test_an_admitted_claim_survives_json(admitted: AdmittedClaim) -> None:
    assert loads(dumps(admitted), AdmittedClaim) == admitted


@given(addresses, times, networks)
def test_a_topology_survives_json(address: IPv4Address, moment: datetime, network: IPv4Network) -> None:
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
                router_id=address,
            ),
        ),
        fetched_at=moment,
    )
    assert loads(dumps(topology), Topology) == topology


@given(st.frozensets(networks, max_size=5))
def test_equal_values_have_the_same_text(found: frozenset[IPv4Network]) -> None:
    value = Everything(
        networks=found, interface=IPv4Interface("10.0.0.1/31"), span=timedelta(seconds=90), words=("b", "a")
    )
    shuffled = attrs.evolve(value, networks=frozenset(sorted(found, reverse=True)))
    assert dumps(value) == dumps(shuffled)
    assert loads(dumps(value), Everything) == value


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
