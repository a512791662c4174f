"""Communities of import policies and of what is announced, from the file to the BGP provider's tables."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from tests.support.modes import MODES
from tests.unit.reconcile.leaf_claim import CLAIM, EXAMPLES, KEY, NOW, OWN

from routerd import config
from routerd.model.claim import AdmittedClaim
from routerd.model.session import ImportPolicy
from routerd.reconcile.derive import Inputs, derive
from routerd.reconcile.desired import Desired

NAMES = "requiredCommunities: ['64512:01', no-export], forbiddenCommunities: ['64512:9']"
NAMED = (frozenset({"64512:1", "65535:65281"}), frozenset({"64512:9"}))
NOTHING = (frozenset[str](), frozenset[str]())
BOUNDS = "allowedPrefixes: [10.80.0.0/16], allowedPrefixLengthMin: 32, allowedPrefixLengthMax: 32"
ROUTER = "timers: {profile: fast}}"
STATIC = """\
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPPeer
      metadata: {{name: static}}
      spec: {{routerRef: BGPRouter/fabric, peerASN: 64577, peers: [{address}]{more}}}
"""
MEMBERS = f"""\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMNodeSet
      metadata: {{name: all}}
      spec:
        nodes:
          - {{nodeRef: leaf1, wireGuard: {{publicKey: "{KEY}", transportEndpoint: 10.20.0.11}}}}
          - nodeRef: far
            wireGuard: {{publicKey: "{OWN}", transportEndpoint: 10.20.0.1, allowedIPs: [10.20.0.1/32]}}
"""


def named(policy: ImportPolicy) -> tuple[frozenset[str], frozenset[str]]:
    return policy.required_communities, policy.forbidden_communities


def desired(name: str, *edits: tuple[str, str], extra: str = "") -> Desired:
    text = (EXAMPLES / name).read_text().replace("REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam", OWN)
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    intent = config.load_text(text + extra, file=name).intent
    claims = (AdmittedClaim(claim=CLAIM, admitted_at=NOW, expires_at=None),)
    return derive(Inputs(modes=MODES, intent=intent, now=NOW, claims=claims, public_keys={"wg-sam": OWN}))


def router_asks(policy: str) -> tuple[str, str]:
    return ROUTER, f"timers: {{profile: fast}}, importPolicy: {{{policy}}}}}"


def test_a_leaf_needs_the_communities_that_its_dynamic_peer_names() -> None:
    length = "          allowedPrefixLengthMax: 32\n"
    asks = f"{length}          {NAMES.replace(', forbidden', f'{chr(10)}          forbidden')}\n"
    (policy,) = desired("rr.yaml", (length, asks)).table("bgp/import_policies").values.values()
    assert named(policy) == NAMED
    assert policy.hosts == {IPv4Network("10.80.1.20/32")}


def test_a_policy_of_its_own_replaces_the_routers() -> None:
    (policy,) = (
        desired("rr.yaml", router_asks(f"{BOUNDS}, {NAMES}")).table("bgp/import_policies").values.values()
    )
    assert named(policy) == NOTHING


def test_a_dynamic_peer_without_a_policy_has_the_routers() -> None:
    text = (EXAMPLES / "rr.yaml").read_text()
    own = text[text.index("        importPolicy:\n") : text.index("Max: 32\n") + len("Max: 32\n")]
    edits = (own, ""), router_asks(f"{BOUNDS}, {NAMES}")
    (policy,) = desired("rr.yaml", *edits).table("bgp/import_policies").values.values()
    assert named(policy) == NAMED


@pytest.mark.parametrize("where", ["peer", "router"])
@pytest.mark.parametrize("address", ["192.0.2.7", "10.255.16.11"], ids=["anybody", "leaf"])
def test_a_static_peer_needs_its_own_communities_or_the_routers(address: str, where: str) -> None:
    """Also an admitted leaf, whose prefixes are those of its claim."""
    asks = f", importPolicy: {{{BOUNDS}, {NAMES}}}"
    extra = STATIC.format(address=address, more=asks if where == "peer" else "")
    edits = [router_asks(f"{BOUNDS}, {NAMES}")] if where == "router" else []
    policy = desired("rr.yaml", *edits, extra=extra).table("bgp/import_policies").values[IPv4Address(address)]
    assert named(policy) == NAMED
    assert bool(policy.hosts) is (address != "192.0.2.7")


@pytest.mark.parametrize("where", ["profile", "router"])
def test_a_reflector_needs_the_communities_that_the_profile_or_the_router_names(where: str) -> None:
    text = (EXAMPLES / "leaf.yaml").read_text()
    own = text[text.index("          importPolicy:\n") : text.index("Max: 32\n") + len("Max: 32\n")]
    asks = f"          importPolicy: {{{BOUNDS}, {NAMES}}}\n"
    edits = [(own, asks)] if where == "profile" else [(own, ""), router_asks(f"{BOUNDS}, {NAMES}")]
    edits.append(("SAMRRSet/rrs\n        bgp", "SAMNodeSet/all\n        bgp"))
    policies = desired("leaf.yaml", *edits, extra=MEMBERS).table("bgp/import_policies").values
    assert [named(policy) for policy in policies.values()] == [NAMED]


def test_what_is_announced_carries_numbers() -> None:
    sets = (
        "timers: {profile: fast}, communities: {set: {out: [no-export, '64512:007']}}, "
        "redistribute: {connected: {allowedPrefixes: [10.20.0.1/32]}}}"
    )
    announced = desired("rr.yaml", (ROUTER, sets)).table("bgp/advertisements").values
    assert {each.communities for each in announced.values()} == {frozenset({"65535:65281", "64512:7"})}
