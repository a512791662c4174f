"""Every rule of admission, each with its reason code and words that name the holder."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.admission.form import check_form, normalised
from routerd.admission.holdings import Holdings
from routerd.admission.rules import DEFAULT_LIFE, History, admit
from routerd.errors import EnrollmentRefused
from routerd.model.claim import AdmittedClaim, Claim, ClaimWireGuard
from routerd.model.intent import Intent
from routerd.model.names import NodeName, PublicKey
from routerd.model.resource import Resource, ResourceId
from routerd.model.specs import (
    BGPDynamicPeerSpec,
    BGPRouterSpec,
    IPv4StaticAddressSpec,
    MobilityPoolSpec,
    NodeSpec,
    PeerSource,
    SAMEnrollmentPolicySpec,
    SAMNodeSetSpec,
    SAMTransportProfileSpec,
    SecretSource,
)
from routerd.model.specs.enrollment import AllowedLeafIDsSpec, DirectMeshSpec, PolicyWireGuardSpec
from routerd.model.specs.net import DynamicListenSpec
from routerd.store.records import Revocation, UsedNonce

NOW = datetime(2026, 6, 28, 12, tzinfo=UTC)
TTL = timedelta(hours=24)


def key(name: str) -> PublicKey:
    return PublicKey(base64.b64encode(hashlib.sha256(name.encode()).digest()).decode())


POLICY = SAMEnrollmentPolicySpec(
    transport_profile_ref="SAMTransportProfile/wg",
    tunnel_address_prefixes=(IPv4Network("10.255.0.0/24"),),
    rr_set_ref="SAMRRSet/rrs",
    join_token_from=SecretSource(env="TOKEN"),
    join_audience="fabric",
    allowed_leaf_ids=AllowedLeafIDsSpec(pattern="leaf-[a-z0-9]+"),
    endpoint_prefixes=(IPv4Network("10.20.0.0/24"),),
    wire_guard=PolicyWireGuardSpec(
        interface="wg-sam",
        endpoint_prefixes=(IPv4Network("198.51.100.0/24"),),
        allowed_extra_ip_prefixes=(IPv4Network("10.20.0.0/24"),),
    ),
    mobility_pool_refs=("MobilityPool/pool",),
    mobility_prefixes=(IPv4Network("10.99.0.0/24"),),
    ttl=TTL,
)
OPEN = SAMEnrollmentPolicySpec(
    transport_profile_ref="SAMTransportProfile/fou",
    tunnel_address_prefixes=(IPv4Network("10.254.0.0/16"), IPv4Network("10.255.0.0/24")),
    mobility_pool_refs=("MobilityPool/pool",),
)


def profile(encryption: str, inner: str, policy: str) -> SAMTransportProfileSpec:
    return SAMTransportProfileSpec(
        mode="ipip",
        encryption="wireguard" if encryption else "none",
        inner_prefix=IPv4Network(inner),
        addressing_mode="pair-stable",
        self_node_ref="pve-rt",
        peers_from=(
            PeerSource(resource=f"SAMEnrollmentPolicy/{policy}"),
            PeerSource(resource="SAMNodeSet/n"),
        ),
    )


def intent(**changed: object) -> Intent:
    specs: dict[tuple[str, str], object] = {
        ("SAMEnrollmentPolicy", "p"): POLICY,
        ("SAMEnrollmentPolicy", "open"): OPEN,
        ("SAMTransportProfile", "wg"): profile("wireguard", "10.240.0.0/16", "p"),
        ("SAMTransportProfile", "fou"): profile("", "10.241.0.0/16", "open"),
        ("MobilityPool", "pool"): MobilityPoolSpec(prefix=IPv4Network("10.77.0.0/16")),
        ("SAMNodeSet", "n"): SAMNodeSetSpec(nodes=(NodeSpec(node_ref="static"),)),
        ("IPv4StaticAddress", "inner"): IPv4StaticAddressSpec(
            interface="wg-sam", address=IPv4Interface("10.20.0.1/24")
        ),
        ("IPv4StaticAddress", "tunnel"): IPv4StaticAddressSpec(
            interface="lo", address=IPv4Interface("10.255.0.1/32")
        ),
        ("BGPDynamicPeer", "leaves"): BGPDynamicPeerSpec(
            router_ref="BGPRouter/bgp",
            peer_asn=64512,
            listen=DynamicListenSpec(source_prefixes=(IPv4Network("10.240.0.0/16"),)),
        ),
        ("BGPRouter", "bgp"): BGPRouterSpec(asn=64512, router_id=IPv4Address("10.255.0.1")),
    }
    for name, spec in changed.items():
        specs[next(k for k in specs if k[1] == name)] = spec
    return Intent(
        node=NodeName("pve-rt"),
        resources=[Resource(id=ResourceId("x", *k), spec=spec) for k, spec in specs.items()],
    )


def claim(leaf: str = "leaf-a", number: int = 31, **changed: object) -> Claim:
    made = Claim(
        name=leaf,
        policy_ref="SAMEnrollmentPolicy/p",
        rr_set_ref="SAMRRSet/rrs",
        leaf_id=leaf,
        join_audience="fabric",
        join_nonce=f"nonce-{leaf}",
        join_timestamp="2026-06-28T11:00:00Z",
        join_hmac="f" * 64,
        tunnel_address=f"10.255.0.{number}/32",
        endpoint=f"10.20.0.{number}",
        owned_addresses=(f"10.77.60.{number}/32",),
        asn=64512,
        router_id=f"10.255.0.{number}",
        wireguard=ClaimWireGuard(
            public_key=key(leaf),
            endpoint=f"198.51.100.{number}:51820",
            allowed_ips=(f"10.20.0.{number}/32",),
            persistent_keepalive=25,
        ),
    )
    return attrs.evolve(made, **changed)  # type: ignore[arg-type]  # by the parametrisation


def wireguard(**changed: object) -> ClaimWireGuard:
    original = claim().wireguard
    assert original is not None
    return attrs.evolve(original, **changed)  # type: ignore[arg-type]  # by the parametrisation


def open_claim(leaf: str = "site-b", number: int = 32, **changed: object) -> Claim:
    return claim(
        leaf,
        number,
        **{
            "policy_ref": "open",
            "join_nonce": "",
            "join_timestamp": "",
            "join_hmac": "",
            "wireguard": None,
            "endpoint": f"192.0.2.{number}",
            **changed,
        },
    )


def fingerprint(made: Claim) -> str:
    return repr(attrs.evolve(made, name="", expires_at="", revoked=False)) + made.join_hmac


@attrs.frozen(kw_only=True)
class Known:
    """What the reflector knew before."""

    admitted: tuple[AdmittedClaim, ...] = ()
    nonce: UsedNonce | None = None
    revocations: tuple[Revocation, ...] = ()


def history(*held: Claim, ended: bool = False, of: Claim | None = None) -> Known:
    end = NOW - timedelta(1) if ended else NOW + timedelta(1)
    nonces = {made.join_nonce: made for made in held if made.join_nonce}
    user = nonces.get(of.join_nonce) if of is not None else None
    return Known(
        admitted=tuple(
            AdmittedClaim(claim=made, admitted_at=NOW - timedelta(2), expires_at=end) for made in held
        ),
        nonce=UsedNonce(
            policy="p", nonce=user.join_nonce, leaf_id=user.leaf_id, fingerprint=fingerprint(user)
        )
        if user
        else None,
    )


def judge(made: Claim, known: Known | None = None, world: Intent | None = None) -> AdmittedClaim:
    known = known or Known()
    check_form(made)
    return admit(
        made,
        Holdings(world or intent(), known.admitted),
        History(nonce=known.nonce, revocations=known.revocations),
        fingerprint=fingerprint(made),
        now=NOW,
    )


def refusal(made: Claim, known: Known | None = None, world: Intent | None = None) -> EnrollmentRefused:
    with pytest.raises(EnrollmentRefused) as refused:
        judge(made, known, world)
    assert made.join_hmac not in str(refused.value) or not made.join_hmac
    return refused.value


def test_a_proper_claim_is_admitted_to_its_true_end() -> None:
    admitted = judge(claim())
    assert admitted == AdmittedClaim(
        claim=claim(), admitted_at=NOW, expires_at=datetime(2026, 6, 29, 11, tzinfo=UTC), method="token"
    )


@pytest.mark.parametrize(
    ("changed", "reason", "words"),
    [
        ({"name": ""}, "claim-name-invalid", "metadata.name"),
        ({"name": "a/b"}, "claim-name-invalid", "a/b"),
        ({"name": "a\nb"}, "claim-name-invalid", r"a\\nb"),
        ({"revoked": True}, "claim-revoked", "revoked: true"),
        ({"policy_ref": " "}, "field-required", "policyRef"),
        ({"leaf_id": " "}, "field-required", "leafID"),
        ({"tunnel_address": ""}, "field-required", "tunnelAddress"),
        ({"leaf_id": "leaf-a\nendpoint=x"}, "text-invalid", "leafID"),
        ({"leaf_id": "leaf-\u0430"}, "text-invalid", "leafID"),  # a Cyrillic letter
        ({"leaf_id": "leaf-\uff41"}, "text-invalid", "leafID"),  # a full-width one
        ({"join_nonce": "no\u200bnce"}, "text-invalid", "joinNonce"),
        ({"leaf_id": "leaf a"}, "leaf-id-invalid", "leaf a"),
        ({"leaf_id": "../leaf-a"}, "leaf-id-invalid", "../leaf-a"),
        ({"name": ".."}, "claim-name-invalid", ".."),
        ({"owned_addresses": ("10.77.0.1", "10.77.0.1/32")}, "owned-address-twice", "twice"),
        ({"owned_addresses": ("10.77.0.01",)}, "address-invalid", "10.77.0.01"),
        ({"join_timestamp": "2026-06-28T12:15:01Z"}, "join-timestamp-in-future", "clock"),
        ({"join_nonce": "n" * 257}, "claim-too-large", "joinNonce"),
        ({"owned_addresses": ("10.77.0.1/32",) * 257}, "claim-too-large", "ownedAddresses"),
        ({"tunnel_address": "10.255.0.031"}, "address-invalid", "10.255.0.031"),
        ({"tunnel_address": "fd00::1"}, "address-invalid", "fd00::1"),
        ({"tunnel_address": "10.255.0.0/24"}, "address-invalid", "tunnelAddress"),
        ({"endpoint": "0.0.0.0"}, "address-invalid", "endpoint"),
        ({"endpoint": "127.0.0.1"}, "address-invalid", "endpoint"),
        ({"router_id": "224.0.0.5"}, "address-invalid", "routerID"),
        ({"owned_addresses": ("10.77.0.1/255.255.255.255",)}, "address-invalid", "ownedAddresses"),
        ({"owned_addresses": (" 10.77.0.1/32",)}, "address-invalid", "ownedAddresses"),
        ({"owned_addresses": ("10.77.0.0/24",)}, "owned-address-not-host", "not a /32"),
        ({"asn": -1}, "asn-invalid", "-1"),
        ({"asn": 2**32}, "asn-invalid", "4294967296"),
        ({"wireguard": wireguard(public_key="")}, "wireguard-key-invalid", "publicKey"),
        ({"wireguard": wireguard(public_key="short")}, "wireguard-key-invalid", "publicKey"),
        ({"wireguard": wireguard(public_key="A" * 43 + "=")}, "wireguard-key-invalid", "publicKey"),
        ({"wireguard": wireguard(public_key="é" * 44)}, "text-invalid", "publicKey"),
        ({"wireguard": wireguard(endpoint="host:51820")}, "address-invalid", "host"),
        ({"wireguard": wireguard(endpoint="198.51.100.1")}, "field-required", "wireGuard.endpoint"),
        ({"wireguard": wireguard(endpoint="198.51.100.1:0")}, "endpoint-invalid", "port"),
        ({"wireguard": wireguard(endpoint="198.51.100.1:65536")}, "endpoint-invalid", "port"),
        ({"wireguard": wireguard(allowed_ips=("10.20.0.5/24",))}, "address-invalid", "allowedIPs"),
        ({"wireguard": wireguard(persistent_keepalive=65536)}, "keepalive-invalid", "65536"),
        ({"join_timestamp": "yesterday"}, "join-timestamp-invalid", "yesterday"),
        ({"join_timestamp": "2026-06-28T11:00:00"}, "join-timestamp-invalid", "joinTimestamp"),
        ({"join_timestamp": "2026-13-28T11:00:00Z"}, "join-timestamp-invalid", "joinTimestamp"),
        ({"expires_at": "soon"}, "expires-at-invalid", "soon"),
        ({"policy_ref": "SAMEnrollmentPolicy/other"}, "policy-unknown", "it has SAMEnrollmentPolicy/p"),
        ({"policy_ref": "SAMRRSet/p"}, "policy-unknown", "SAMRRSet/p"),
        ({"leaf_id": "other"}, "leaf-id-not-allowed", "must match leaf-"),
        # Found somewhere in it is not enough.
        ({"leaf_id": "not-leaf-a"}, "leaf-id-not-allowed", "not-leaf-a"),
        ({"leaf_id": "leaf-a.evil"}, "leaf-id-not-allowed", "leaf-a.evil"),
        ({"rr_set_ref": ""}, "rr-set-mismatch", "empty"),
        ({"rr_set_ref": "SAMRRSet/x"}, "rr-set-mismatch", "SAMRRSet/rrs"),
        ({"join_audience": "x"}, "join-audience-mismatch", "expects fabric"),
        ({"direct_mesh": True}, "direct-mesh-not-allowed", "peerGroupRef"),
        ({"tunnel_address": "10.254.0.1"}, "tunnel-address-outside", "10.255.0.0/24"),
        ({"endpoint": "10.21.0.1"}, "endpoint-outside", "10.20.0.0/24"),
        ({"wireguard": wireguard(endpoint="203.0.113.1:1")}, "wireguard-endpoint-outside", "198.51.100.0/24"),
        ({"wireguard": wireguard(allowed_ips=("10.77.60.31/32",))}, "wireguard-allowed-ips-outside", "10.77"),
        ({"wireguard": wireguard(allowed_ips=("10.20.0.0/16",))}, "wireguard-allowed-ips-outside", "/16"),
        ({"wireguard": None}, "wireguard-key-required", "SAMTransportProfile/wg"),
        ({"owned_addresses": ("10.78.0.1/32",)}, "owned-address-outside", "10.99.0.0/24, 10.77.0.0/16"),
        ({"expires_at": "2026-06-30T00:00:00Z"}, "expires-at-exceeds-ttl", "2026-06-30"),
        ({"expires_at": "2026-06-28T11:59:59Z"}, "claim-expired", "11:59:59"),
        ({"join_timestamp": "2026-06-27T12:00:00Z"}, "claim-expired", "new joinTimestamp"),
        ({"tunnel_address": "10.255.0.1"}, "address-is-reflectors", "IPv4StaticAddress/tunnel"),
        ({"router_id": "10.255.0.1"}, "router-id-taken", "BGPRouter/bgp"),
        ({"wireguard": wireguard(allowed_ips=("10.20.0.1/32",))}, "address-is-reflectors", "10.20.0.1"),
        ({"wireguard": wireguard(allowed_ips=("10.20.0.0/24",))}, "address-is-reflectors", "10.20.0.1"),
        ({"router_id": "10.255.0.1/32"}, "router-id-taken", "BGPRouter/bgp"),
        ({"asn": 64513}, "asn-not-allowed", "BGPDynamicPeer/leaves takes sessions of AS 64512"),
    ],
)
def test_what_is_wrong_is_refused_with_its_reason(
    changed: dict[str, object], reason: str, words: str
) -> None:
    error = refusal(claim(**changed))
    assert error.reason == reason
    assert words.replace("\\\\", "\\") in str(error)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tunnel_address": "2001:db8::1"}, "tunnelAddress 2001:db8::1 is not an IPv4 host address"),
        ({"tunnel_address": "2001:db8::1/128"}, "tunnelAddress 2001:db8::1/128 is not an IPv4 host address"),
        ({"endpoint": "2001:db8::1"}, "endpoint 2001:db8::1 is not an IPv4 host address"),
        ({"endpoint": "::ffff:192.0.2.1"}, "endpoint ::ffff:192.0.2.1 is not an IPv4 host address"),
        ({"router_id": "2001:db8::1"}, "bgp.routerID 2001:db8::1 is not an IPv4 host address"),
        (
            {"owned_addresses": ("10.77.60.31/32", "2001:db8::1/128")},
            "mobility.ownedAddresses 2001:db8::1/128 is not an IPv4 prefix in its usual form",
        ),
        (
            {"owned_addresses": ("2001:db8::/32",)},
            "mobility.ownedAddresses 2001:db8::/32 is not an IPv4 prefix in its usual form",
        ),
        (
            {"wireguard": wireguard(endpoint="[2001:db8::1]:51820")},
            "wireGuard.endpoint [2001:db8::1] is not an IPv4 host address",
        ),
        (
            {"wireguard": wireguard(allowed_ips=("2001:db8::/64",))},
            "wireGuard.allowedIPs 2001:db8::/64 is not an IPv4 prefix in its usual form",
        ),
    ],
)
def test_ipv6_in_a_claim_is_refused_by_its_field_and_the_next_claim_is_admitted(
    changed: dict[str, object], words: str
) -> None:
    error = refusal(claim(**changed))
    assert error.reason == "address-invalid"
    assert str(error) == f"claim leaf-a: {words}"
    assert judge(claim()).claim == claim()


@pytest.mark.parametrize(
    "changed",
    [
        {"leaf_id": " leaf-x "},
        {"rr_set_ref": "rrs"},
        {"tunnel_address": "10.255.0.31"},
        {"endpoint": ""},
        {"owned_addresses": ()},
        {"owned_addresses": ("10.99.0.7", "10.77.0.1/32")},
        {"join_timestamp": "2026-06-28T13:00:00.123456789+02:00"},
        {"expires_at": "2026-06-29T11:00:00Z"},
        {"wireguard": wireguard(endpoint="", allowed_ips=("10.255.0.31/32",))},
        {"asn": 0, "router_id": ""},
    ],
)
def test_what_is_right_is_admitted(changed: dict[str, object]) -> None:
    assert judge(claim(**changed)).claim == claim(**changed)


def test_direct_mesh_is_allowed_where_the_policy_has_a_group() -> None:
    world = intent(p=attrs.evolve(POLICY, direct_mesh=DirectMeshSpec(peer_group_ref="SAMPeerGroup/g")))
    assert judge(claim(direct_mesh=True), world=world).claim.direct_mesh


def test_a_policy_without_pools_admits_no_address() -> None:
    world = intent(open=attrs.evolve(OPEN, mobility_pool_refs=()))
    assert refusal(open_claim(), world=world).reason == "owned-address-outside"
    assert judge(open_claim(owned_addresses=()), world=world).claim.owned == frozenset()


def test_wireguard_endpoints_fall_back_to_the_plain_prefixes() -> None:
    terms = POLICY.wire_guard
    assert terms is not None
    world = intent(p=attrs.evolve(POLICY, wire_guard=attrs.evolve(terms, endpoint_prefixes=())))
    assert refusal(claim(), world=world).reason == "wireguard-endpoint-outside"


class TestEnd:
    @pytest.mark.parametrize(
        ("ttl", "stamp", "expires", "end"),
        [
            (TTL, "2026-06-28T11:00:00Z", "", datetime(2026, 6, 29, 11, tzinfo=UTC)),
            (TTL, "2026-06-28T11:00:00Z", "2026-06-28T18:00:00Z", datetime(2026, 6, 28, 18, tzinfo=UTC)),
            (None, "2026-06-28T11:00:00Z", "2027-06-28T18:00:00Z", datetime(2027, 6, 28, 18, tzinfo=UTC)),
            (None, "2020-06-28T11:00:00Z", "", NOW + DEFAULT_LIFE),
            (TTL, "", "", NOW + TTL),
            (TTL, "", "2027-06-28T18:00:00Z", NOW + TTL),
        ],
    )
    def test_it_is_the_earlier_of_both(
        self, ttl: timedelta | None, stamp: str, expires: str, end: datetime
    ) -> None:
        world = intent(p=attrs.evolve(POLICY, ttl=ttl))
        made = claim(join_timestamp=stamp, expires_at=expires)
        assert judge(made, world=world).expires_at == end

    def test_whoever_overheard_a_claim_cannot_cut_it_short(self) -> None:
        first = claim()
        heard = attrs.evolve(first, expires_at="2026-06-28T12:00:01Z")
        admitted = judge(heard, history(first, of=heard))
        assert admitted.expires_at == datetime(2026, 6, 29, 11, tzinfo=UTC)

    def test_nothing_outlives_the_ttl_of_its_signature(self) -> None:
        first = claim(expires_at="2026-06-28T13:00:00Z")
        longer = attrs.evolve(first, expires_at="")
        assert judge(longer, history(first, of=longer)).expires_at == datetime(2026, 6, 29, 11, tzinfo=UTC)


class TestClock:
    FRESH = intent(p=attrs.evolve(POLICY, freshness_window=timedelta(minutes=5)))

    @pytest.mark.parametrize(
        ("stamp", "reason"),
        [
            ("2026-06-28T12:10:00Z", "join-timestamp-in-future"),
            ("2026-06-28T11:50:00Z", "join-timestamp-not-fresh"),
        ],
    )
    def test_a_clock_ten_minutes_off_is_refused_where_freshness_is_asked_for(
        self, stamp: str, reason: str
    ) -> None:
        off = claim(join_timestamp=stamp)
        error = refusal(off, world=self.FRESH)
        assert error.reason == reason
        assert "clocks" in str(error)
        assert judge(off).claim == off  # and admitted where it is not

    def test_a_clock_that_is_ahead_buys_no_longer_life(self) -> None:
        assert judge(claim(join_timestamp="2026-06-28T12:14:00Z")).expires_at == NOW + TTL

    def test_what_holds_already_need_not_be_fresh(self) -> None:
        known = history(claim(), of=claim())
        assert judge(claim(), known, self.FRESH).claim == claim()


class TestHistory:
    def test_the_same_claim_again_is_the_same_claim(self) -> None:
        known = history(claim(), of=claim())
        assert judge(claim(), known).admitted_at == known.admitted[0].admitted_at

    def test_an_open_claim_again_is_the_same_claim(self) -> None:
        known = history(open_claim())
        assert judge(open_claim(), known).admitted_at == known.admitted[0].admitted_at

    def test_the_same_claim_under_another_name_is_a_replay(self) -> None:
        copied = claim(name="other")
        error = refusal(copied, history(claim(), of=copied))
        assert error.reason == "join-nonce-used"
        assert "leaf leaf-a" in str(error)

    def test_a_nonce_is_used_up_even_when_its_claim_has_ended(self) -> None:
        other = claim("leaf-b", 40, join_nonce="nonce-leaf-a")
        assert refusal(other, history(claim(), ended=True, of=other)).reason == "join-nonce-used"

    def test_an_overtaken_claim_does_not_come_back(self) -> None:
        old = claim()
        new = claim(join_nonce="second", join_timestamp="2026-06-28T11:30:00Z")
        known = attrs.evolve(history(new), nonce=history(old, of=old).nonce)
        assert refusal(old, known).reason == "join-nonce-used"

    def test_a_newer_claim_of_the_leaf_replaces_the_older(self) -> None:
        new = claim(
            join_nonce="second",
            join_timestamp="2026-06-28T11:00:00.000001Z",
            wireguard=wireguard(public_key=key("rotated")),
        )
        assert judge(new, history(claim(), of=new)).claim == new

    @pytest.mark.parametrize("stamp", ["2026-06-28T11:00:00Z", "2026-06-28T10:00:00Z", ""])
    def test_a_claim_that_is_not_newer_replaces_nothing(self, stamp: str) -> None:
        other = claim(join_nonce="second", join_timestamp=stamp)
        assert refusal(other, history(claim(), of=other)).reason == "join-timestamp-not-newer"

    @pytest.mark.parametrize("ended", [False, True])
    def test_a_name_belongs_to_its_leaf(self, ended: bool) -> None:
        thief = claim("leaf-b", 40, name="leaf-a", join_timestamp="2026-06-28T11:30:00Z")
        error = refusal(thief, history(claim(), ended=ended, of=thief))
        assert error.reason == "claim-name-taken"
        assert "belongs to leaf leaf-a" in str(error)

    def test_an_open_claim_keeps_its_key(self) -> None:
        held = open_claim(wireguard=ClaimWireGuard(public_key=key("one")))
        other = open_claim(wireguard=ClaimWireGuard(public_key=key("two")))
        assert refusal(other, history(held)).reason == "wireguard-key-changed"
        assert judge(other, history(held, ended=True)).claim == other

    def test_a_revoked_nonce_never_returns(self) -> None:
        error = refusal(claim(), attrs.evolve(history(), revocations=(revoked("nonce-leaf-a", hours=-9),)))
        assert error.reason == "claim-revoked"
        assert "lost laptop" in str(error)

    def test_what_was_signed_before_the_revocation_does_not_undo_it(self) -> None:
        known = attrs.evolve(history(), revocations=(revoked("other", hours=0),))
        assert refusal(claim(), known).reason == "claim-revoked"

    def test_a_leaf_may_come_back_with_a_claim_signed_after_it_was_revoked(self) -> None:
        gone = attrs.evolve(revoked("other", hours=-9), lifted_at=NOW)
        assert judge(claim(), attrs.evolve(history(), revocations=(gone,))).claim == claim()

    def test_a_revoked_leaf_does_not_come_back_by_itself(self) -> None:
        error = refusal(claim(), attrs.evolve(history(), revocations=(revoked("other", hours=-9),)))
        assert error.reason == "claim-revoked"
        assert "routerd enroll approve leaf-a" in str(error)

    def test_what_was_signed_before_stays_revoked_when_the_leaf_may_come_back(self) -> None:
        gone = attrs.evolve(revoked("other", hours=0), lifted_at=NOW)
        error = refusal(claim(), attrs.evolve(history(), revocations=(gone,)))
        assert error.reason == "signed-before-revocation"

    def test_the_key_of_a_revoked_leaf_does_not_come_back_under_another_name(self) -> None:
        gone = attrs.evolve(revoked("other", hours=-9), leaf_id="leaf-z", public_key=key("leaf-a"))
        error = refusal(claim(), attrs.evolve(history(), revocations=(gone,)))
        assert error.reason == "claim-revoked"
        assert "WireGuard key" in str(error)


def revoked(nonce: str, *, hours: int) -> Revocation:
    return Revocation(
        policy="p",
        leaf_id="leaf-a",
        nonce=nonce,
        name="leaf-a",
        reason="lost laptop",
        revoked_at=NOW + timedelta(hours=hours),
    )


class TestHolders:
    OTHER = claim("leaf-b", 40)

    @pytest.mark.parametrize(
        ("changed", "reason", "what"),
        [
            ({"leaf_id": "leaf-b"}, "leaf-id-taken", "leafID leaf-b"),
            ({"router_id": "10.255.0.40"}, "router-id-taken", "10.255.0.40"),
            ({"router_id": "10.255.0.40/32"}, "router-id-taken", "10.255.0.40"),
            ({"wireguard": wireguard(public_key=key("leaf-b"))}, "wireguard-key-taken", key("leaf-b")),
            ({"tunnel_address": "10.255.0.40"}, "tunnel-address-taken", "10.255.0.40"),
            ({"owned_addresses": ("10.77.60.40",)}, "owned-address-taken", "10.77.60.40"),
            ({"endpoint": "10.20.0.40"}, "endpoint-taken", "10.20.0.40"),
            (
                {"wireguard": wireguard(allowed_ips=("10.20.0.32/28",))},
                "wireguard-allowed-ips-taken",
                "10.20.0.32/28",
            ),
        ],
    )
    def test_what_another_leaf_holds_is_refused_and_the_holder_named(
        self, changed: dict[str, object], reason: str, what: str
    ) -> None:
        error = refusal(claim(**changed), history(self.OTHER))
        assert error.reason == reason
        assert what in str(error)
        assert "leaf-b" in str(error)
        assert "SAMEnrollmentPolicy/p" in str(error)

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"leaf_id": "leaf-b"}, "leaf-id-taken"),
            ({"router_id": "10.255.0.40"}, "router-id-taken"),
            ({"wireguard": ClaimWireGuard(public_key=key("leaf-b"))}, "wireguard-key-taken"),
            ({"tunnel_address": "10.255.0.40"}, "tunnel-address-taken"),
            ({"owned_addresses": ("10.77.60.40/32",)}, "owned-address-taken"),
        ],
    )
    def test_it_holds_across_policies(self, changed: dict[str, object], reason: str) -> None:
        error = refusal(open_claim(**changed), history(self.OTHER))
        assert error.reason == reason
        assert "leaf-b" in str(error)

    def test_an_owned_address_may_not_be_anothers_tunnel_address(self) -> None:
        world = intent(p=attrs.evolve(POLICY, mobility_prefixes=(IPv4Network("10.255.0.0/24"),)))
        error = refusal(claim(owned_addresses=("10.255.0.40",)), history(self.OTHER), world)
        assert error.reason == "owned-address-taken"

    def test_what_has_ended_holds_nothing(self) -> None:
        again = claim("leaf-c", 40)
        assert judge(again, history(self.OTHER, ended=True)).claim == again

    def test_a_replacement_does_not_collide_with_itself(self) -> None:
        new = claim(join_nonce="second", join_timestamp="2026-06-28T11:30:00Z")
        assert judge(new, history(claim(), of=new)).claim == new


class TestSlots:
    # The published collision: pve-rt with node-03 and node-50 both have slot 12 of 10.255.1.0/24.
    world = intent(
        p=attrs.evolve(POLICY, allowed_leaf_ids=None), wg=profile("wireguard", "10.255.1.0/24", "p")
    )

    def test_a_leaf_whose_link_is_another_leafs_is_refused(self) -> None:
        first, second = claim("node-03", 40), claim("node-50", 41)
        assert judge(first, world=self.world).claim == first
        error = refusal(second, history(first), self.world)
        assert error.reason == "slot-collision"
        assert "node-50 would share" in str(error)
        assert "with node-03" in str(error)
        assert "10.255.1.24/31" in str(error)

    def test_the_link_of_a_node_in_the_file_is_taken(self) -> None:
        world = attrs.evolve(
            self.world,
            resources=[
                attrs.evolve(found, spec=SAMNodeSetSpec(nodes=(NodeSpec(node_ref="node-03"),)))
                if found.id.kind == "SAMNodeSet"
                else found
                for found in self.world.resources
            ],
        )
        assert refusal(claim("node-50", 41), world=world).reason == "slot-collision"

    def test_profiles_on_one_inner_prefix_share_their_links(self) -> None:
        world = intent(
            p=attrs.evolve(POLICY, allowed_leaf_ids=None),
            wg=profile("wireguard", "10.255.1.0/24", "p"),
            fou=profile("", "10.255.1.0/24", "open"),
        )
        assert refusal(open_claim("node-50"), history(claim("node-03", 40)), world).reason == "slot-collision"

    def test_no_leaf_has_the_name_of_this_router(self) -> None:
        assert refusal(claim("pve-rt", 40), world=self.world).reason == "leaf-id-taken"


def test_an_empty_wireguard_part_is_none() -> None:
    assert normalised(claim(wireguard=ClaimWireGuard(public_key=PublicKey("")))).wireguard is None
    assert normalised(claim()) == claim()


@given(
    st.text(max_size=40),
    st.sampled_from(
        ["name", "policy_ref", "leaf_id", "tunnel_address", "endpoint", "router_id", "join_timestamp"]
    ),
)
def test_any_text_is_admitted_or_refused_and_breaks_nothing(text: str, field: str) -> None:
    outcome: AdmittedClaim | EnrollmentRefused
    try:
        outcome = judge(claim(**{field: text}))
    except EnrollmentRefused as refused:
        outcome = refused
    if isinstance(outcome, EnrollmentRefused):
        assert outcome.reason
        assert "\n" not in str(outcome)
    else:
        assert outcome.claim.tunnel_host in IPv4Network("10.255.0.0/24")
