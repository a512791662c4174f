"""The leaves of one site may claim the same addresses; nobody else may, and no two the same priority."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network
from itertools import permutations

import attrs
import pytest
from tests.unit.admission.enrollment_world import NOW, claim, intent, policy

from routerd.admission.form import check_form, normalised
from routerd.admission.holdings import Holdings
from routerd.admission.rules import History, admit
from routerd.errors import EnrollmentRefused
from routerd.model.claim import AdmittedClaim, Claim, Placement
from routerd.model.intent import Intent
from routerd.model.specs.enrollment import AllowedLeafIDsSpec, PlacementGroupSpec

SHARED = "10.77.60.100/32"


def group(name: str, pattern: str) -> PlacementGroupSpec:
    return PlacementGroupSpec(name=name, allowed_leaf_ids=AllowedLeafIDsSpec(pattern=pattern))


GROUPS = (group("site", "leaf-[abc]"), group("other", "leaf-[cd]"))
WORLD = intent(policy(placement_groups=GROUPS))


def member(leaf: str, priority: int, *, site: str = "site", **changed: object) -> Claim:
    number = ord(leaf[-1])
    placed = {"placement": Placement(group=site, priority=priority), "owned_addresses": (SHARED,)}
    return claim(leaf, number, **(placed | changed))


A, B, C = member("leaf-a", 10), member("leaf-b", 20), member("leaf-c", 30)


def join(holdings: Holdings, made: Claim) -> AdmittedClaim:
    check_form(made)
    admitted = admit(made, holdings, History(), fingerprint=repr(made), now=NOW)
    holdings.put(admitted)
    return admitted


def joined(*made: Claim, world: Intent = WORLD) -> Holdings:
    holdings = Holdings(world)
    for each in made:
        join(holdings, each)
    return holdings


def refused(holdings: Holdings, made: Claim) -> tuple[str, str]:
    with pytest.raises(EnrollmentRefused) as refusal:
        join(holdings, made)
    return refusal.value.reason, str(refusal.value)


@pytest.mark.parametrize("order", list(permutations((A, B, C))))
def test_the_leaves_of_a_group_share_their_addresses_in_any_order(order: tuple[Claim, ...]) -> None:
    assert len(joined(*order)) == 3


@pytest.mark.parametrize("order", list(permutations((A, B))))
def test_nobody_else_gets_a_shared_address(order: tuple[Claim, ...]) -> None:
    holdings = joined(*order)
    alone = claim("leaf-z", 9, owned_addresses=(SHARED,))
    assert refused(holdings, alone)[0] == "owned-address-taken"
    stranger = member("leaf-d", 10, site="other")
    assert refused(holdings, stranger)[0] == "owned-address-taken"


def test_an_address_that_somebody_has_alone_is_taken_for_a_group_too() -> None:
    holdings = joined(claim("leaf-z", 9, owned_addresses=(SHARED,)))
    assert refused(holdings, A)[0] == "owned-address-taken"


def test_another_members_tunnel_address_is_not_shared() -> None:
    tunnel = "10.77.60.100/32"
    everywhere = (IPv4Network("10.0.0.0/8"),)
    world = intent(
        policy(placement_groups=GROUPS, tunnel_address_prefixes=everywhere, mobility_prefixes=everywhere)
    )
    inner = "10.99.0.7/32"
    lives_there = member("leaf-a", 10, tunnel_address=inner, owned_addresses=(tunnel,))
    owns_it = member("leaf-b", 20, owned_addresses=(inner, tunnel))
    for order in permutations((lives_there, owns_it)):
        reason, words = refused(joined(order[0], world=world), order[1])
        assert reason in ("owned-address-taken", "tunnel-address-taken"), words


@pytest.mark.parametrize("order", list(permutations((A, member("leaf-b", 10)))))
def test_a_priority_is_unique_in_its_group(order: tuple[Claim, ...]) -> None:
    reason, words = refused(joined(order[0]), order[1])
    assert reason == "placement-priority-taken"
    assert "priority 10 of group site" in words
    assert order[0].leaf_id in words


def test_two_groups_may_use_the_same_priority() -> None:
    # The rule is that this does not raise.
    joined(A, member("leaf-d", 10, site="other", owned_addresses=("10.77.60.101/32",)))


@pytest.mark.parametrize(
    "order", list(permutations((A, member("leaf-b", 20, owned_addresses=("10.77.60.9/32",)))))
)
def test_leaves_that_share_nothing_are_no_group(order: tuple[Claim, ...]) -> None:
    """They would not hear of each other, and each would think that it is alone."""
    reason, words = refused(joined(order[0]), order[1])
    assert reason == "placement-nothing-shared"
    assert order[0].leaf_id in words


def test_a_member_may_have_addresses_of_its_own_too() -> None:
    own = "10.77.60.9/32"
    holdings = joined(A, member("leaf-b", 20, owned_addresses=(SHARED, own)))
    assert refused(holdings, claim("leaf-z", 9, owned_addresses=(own,)))[0] == "owned-address-taken"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            member("leaf-a", 10, site="nowhere"),
            "placement.group nowhere is not in SAMEnrollmentPolicy/p; it has other, site",
        ),
        (member("leaf-d", 10), "leafID leaf-d is not allowed in placement group site"),
        (member("leaf-aa", 10), "the whole of it must match leaf-[abc]"),
    ],
)
def test_who_does_not_belong_to_a_group_is_refused(made: Claim, words: str) -> None:
    reason, said = refused(joined(), made)
    assert reason == "placement-not-allowed"
    assert words in said


@pytest.mark.parametrize("gone", ["expired", "revoked", "dropped"])
def test_what_ends_one_member_leaves_the_others(gone: str) -> None:
    """The address stays theirs, and the priority of the one that has gone is free."""
    for order in permutations((A, B, C)):
        holdings = joined(*order)
        former = holdings.named(B.name)
        assert former is not None
        if gone == "expired":
            holdings.put(attrs.evolve(former, expires_at=NOW - timedelta(1)))
        elif gone == "revoked":
            holdings.put(attrs.evolve(former, claim=attrs.evolve(former.claim, revoked=True)))
        else:
            holdings.drop(B.name)
        assert refused(holdings, claim("leaf-z", 9, owned_addresses=(SHARED,)))[0] == "owned-address-taken"
        assert holdings.displaced_by(A, now=NOW) == ()
        for other in (A, C):
            found = holdings.named(other.name)
            assert found is not None
            assert found.active(NOW)
        holdings.drop(C.name)
        join(holdings, member("leaf-c", B.placement.priority if B.placement else 0))


def test_who_takes_the_address_of_a_group_that_has_ended_displaces_all_of_it() -> None:
    holdings = joined(A, B)
    for each in holdings.all():
        holdings.put(attrs.evolve(each, expires_at=NOW - timedelta(1)))
    alone = claim("leaf-z", 9, owned_addresses=(SHARED,))
    assert {each.claim.name for each in holdings.displaced_by(alone, now=NOW)} == {A.name, B.name}
    join(holdings, alone)
    assert refused(holdings, A)[0] == "owned-address-taken"


def test_a_roster_that_is_read_again_knows_all_of_them() -> None:
    again = Holdings(WORLD, joined(A, B, C).all())
    assert refused(again, member("leaf-a", 20, name="second"))[0] == "leaf-id-taken"
    again.drop(A.name)
    assert refused(again, member("leaf-a", 20))[0] == "placement-priority-taken"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"placement": Placement(group="", priority=1)}, "placement.group"),
        ({"placement": Placement(group="a b", priority=1)}, "placement.group a b"),
        ({"placement": Placement(group="site", priority=0)}, "priority 0"),
        ({"placement": Placement(group="site", priority=1_000_001)}, "priority 1000001"),
        ({"placement": Placement(group="site", priority=1), "owned_addresses": ()}, "ownedAddresses"),
    ],
)
def test_a_placement_has_a_form(changed: dict[str, object], words: str) -> None:
    reason, said = refused(joined(), claim(**changed))
    assert reason == "placement-invalid"
    assert words in said


def test_a_placement_that_says_nothing_is_none() -> None:
    assert normalised(claim(placement=Placement(group="", priority=0))) == claim()
