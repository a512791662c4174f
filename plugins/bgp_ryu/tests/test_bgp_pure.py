"""What needs no speaker: messages, import policy, decision, words for errors."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.model.route import LearnedRoute
from routerd.model.session import Advertisement, ImportPolicy, Session, Speaker, Timers
from routerd.testing.bgp import open_message
from routerd.testing.contracts import PluginContract
from routerd_bgp_ryu.decision import Candidate, decide
from routerd_bgp_ryu.identity import BAD_ASN, BAD_ROUTER_ID, Identity, mismatch, router_id_in
from routerd_bgp_ryu.import_policy import (
    FORBIDDEN,
    FORBIDDEN_COMMUNITY,
    MISSING_COMMUNITY,
    NOT_A_HOST,
    NOT_OWNED,
    OUTSIDE,
    refusal,
)
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


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("10.88.1.1/32", None),
        ("10.88.1.2/32", NOT_OWNED),
        ("10.88.1.0/24", NOT_A_HOST),
        ("0.0.0.0/0", FORBIDDEN),
        ("10.99.0.3/32", FORBIDDEN),
    ],
)
def test_a_claim_admits_its_hosts_exactly(prefix: str, reason: str | None) -> None:
    policy = ImportPolicy(hosts=frozenset({PREFIX}), forbidden=frozenset({IPv4Network("10.99.0.0/24")}))
    assert refusal(IPv4Network(prefix), policy, frozenset()) == reason


@pytest.mark.parametrize(
    ("prefix", "reason"), [("10.88.9.9/32", None), ("10.88.9.0/24", OUTSIDE), ("10.89.0.1/32", OUTSIDE)]
)
def test_a_pool_admits_hosts_inside_it(prefix: str, reason: str | None) -> None:
    policy = ImportPolicy(within=frozenset({IPv4Network("10.88.0.0/16")}))
    assert refusal(IPv4Network(prefix), policy, frozenset()) == reason


@pytest.mark.parametrize("policy", [{"hosts": {PREFIX}}, {"within": {IPv4Network("10.88.0.0/16")}}])
@pytest.mark.parametrize(
    ("carried", "reason"),
    [
        ("", MISSING_COMMUNITY),
        ("64512:1", MISSING_COMMUNITY),
        ("64512:1 64512:2", None),
        ("64512:1 64512:2 64512:3", None),
        ("64512:1 64512:2 65535:65281", FORBIDDEN_COMMUNITY),
        ("65535:65281", FORBIDDEN_COMMUNITY),
    ],
)
def test_all_required_communities_and_no_forbidden_one(
    policy: dict[str, set[IPv4Network]], carried: str, reason: str | None
) -> None:
    asks = ImportPolicy(
        required_communities={"64512:1", "64512:2"},
        forbidden_communities={"no-export"},
        **{name: frozenset(value) for name, value in policy.items()},
    )
    assert refusal(PREFIX, asks, frozenset(carried.split())) == reason


def test_communities_help_no_prefix_that_may_not_enter() -> None:
    asks = ImportPolicy(hosts=frozenset({PREFIX}), required_communities={"64512:1"})
    for prefix, reason in (("10.88.1.2/32", NOT_OWNED), ("10.88.1.0/24", NOT_A_HOST)):
        for carried in (frozenset({"64512:1"}), frozenset[str]()):
            assert refusal(IPv4Network(prefix), asks, carried) == reason


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_without_a_policy_nothing_enters(address: int, length: int) -> None:
    network = IPv4Network((address, length), strict=False)
    assert refusal(network, ImportPolicy(), frozenset()) is not None


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


def path(neighbour: int, *, origin: int = 0, internal: bool = True, **more: object) -> Candidate:
    address = IPv4Address(f"10.255.0.{neighbour}")
    route = LearnedRoute(prefix=PREFIX, next_hop=address, neighbour=address, **more)  # type: ignore[arg-type]  # test
    return Candidate(route=route, origin=origin, internal=internal)


def best(*paths: Candidate, own: frozenset[IPv4Network] = frozenset()) -> list[int]:
    return [int(route.neighbour) & 0xFF for route in decide(paths, own) if route.best]


def test_equal_paths_are_all_best() -> None:
    assert best(path(2), path(1)) == [1, 2]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (path(2, local_preference=200), path(1)),
        (path(2), path(1, as_path=(65001,))),
        (path(2), path(1, origin=2)),
        (path(2), path(1, med=10)),
        (path(2, internal=False), path(1)),
        (path(2, local_preference=200, as_path=(1, 2, 3)), path(1)),
    ],
)
def test_each_step_of_the_decision_prefers(better: Candidate, worse: Candidate) -> None:
    assert best(better, worse) == [2]
    assert best(worse, better) == [2]


def test_no_more_than_sixteen_are_best() -> None:
    assert best(*(path(number) for number in range(1, 21))) == list(range(1, 17))


def test_what_we_originate_is_never_best_by_another() -> None:
    assert best(path(1), own=frozenset({PREFIX})) == []
