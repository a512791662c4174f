"""The parts that need no speaker: messages between the processes, and identities."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.session import Advertisement, ImportPolicy, Session, Speaker, Timers
from routerd.testing.bgp import open_message
from routerd.testing.contracts import PluginContract
from routerd_bgp_ryu.identity import BAD_ASN, BAD_ROUTER_ID, Identity, mismatch, router_id_in
from routerd_bgp_ryu.wire import decode, encode, from_document, to_document

PREFIX = IPv4Network("10.88.1.1/32")


class TestPlugin(PluginContract):
    name = "bgp_ryu"


@pytest.mark.parametrize(
    "value",
    [
        Speaker(asn=4_200_000_000, router_id=IPv4Address("10.99.0.1"), owner="BGPRouter/a"),
        Session(peer_asn=64577, owner="x/y", source=IPv4Address("10.0.0.1"), password="s", timers=Timers()),
        Session(peer_asn=1, owner="x/y", peer_router_id=IPv4Address("10.0.0.9"), claim="x/z", leaf="z"),
        ImportPolicy(hosts=frozenset({PREFIX}), forbidden=frozenset({IPv4Network("10.99.0.0/24")})),
        ImportPolicy(required_communities={"no-export", "1:2"}, forbidden_communities={"64512:100"}),
        Advertisement(owner="x/y", communities=frozenset({"64512:100"}), local_preference=200),
        Advertisement(owner="x/y", communities=frozenset({"no-advertise"})),
        Speaker(asn=1, router_id=IPv4Address("10.99.0.1"), owner="x/y", listen=IPv6Address("::1")),
        Session(peer_asn=1, owner="x/y", source=IPv6Address("2001:db8::1")),
        ImportPolicy(hosts=frozenset({PREFIX, IPv6Network("2001:db8::1/128")})),
        Advertisement(owner="x/y", next_hop=IPv6Address("2001:db8::1")),
    ],
)
def test_every_value_survives_the_wire(value: object) -> None:
    line = encode({"id": 1, "value": to_document(value)})
    assert line.count(b"\n") == 1
    assert from_document(decode(line)["value"], type(value)) == value


@given(st.binary())
def test_garbage_is_a_value_error_and_nothing_else(line: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode(line), dict)


def test_deep_nesting_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested"):
        decode(b"[" * 200_000)


OWN, RIGHT, WRONG = (IPv4Address(f"10.99.0.{number}") for number in (1, 11, 12))


@pytest.mark.parametrize(
    ("asn", "router_id", "expected", "code"),
    [
        (64577, RIGHT, RIGHT, None),
        (64577, WRONG, None, None),
        (64577, WRONG, RIGHT, BAD_ROUTER_ID),
        (64999, RIGHT, RIGHT, BAD_ASN),
        (64999, WRONG, RIGHT, BAD_ASN),
        (64999, WRONG, None, BAD_ASN),
        (64577, OWN, None, BAD_ROUTER_ID),
        (64577, IPv4Address(0), None, BAD_ROUTER_ID),
    ],
)
def test_a_speaker_is_who_the_session_expects_or_is_refused(
    asn: int, router_id: IPv4Address, expected: IPv4Address | None, code: tuple[int, int] | None
) -> None:
    session = Session(peer_asn=64577, owner="BGPPeer/a", peer_router_id=expected)
    found = mismatch(
        Identity(asn=asn, router_id=router_id), session, Speaker(asn=64577, router_id=OWN, owner="r")
    )
    assert (found.code if found else None) == code


def test_another_as_may_use_our_router_id() -> None:
    session = Session(peer_asn=64999, owner="BGPPeer/a")
    own = Speaker(asn=64577, router_id=OWN, owner="r")
    assert mismatch(Identity(asn=64999, router_id=OWN), session, own) is None


@given(st.binary())
def test_what_a_stranger_sends_is_an_open_or_nothing(sent: bytes) -> None:
    assert router_id_in(sent) is None
    assert router_id_in(open_message(64577, RIGHT) + sent) == RIGHT
