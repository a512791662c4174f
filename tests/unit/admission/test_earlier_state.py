"""State files of routerd from before join methods had names are taken over: claims, decisions, digests.

`earlier_state` holds the files of a reflector and of its leaf-a as SQL, written by that routerd with the
plugin `enrollment_token` and the token "token" at `NOW`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from tests.unit.admission.desk_world import decisions, phases, refusal, submit, trail
from tests.unit.admission.enrollment_world import (
    NOW,
    Leaf,
    QuickClock,
    Reflector,
    claim,
    intent,
    methods,
    policy,
)

from routerd.admission.desk import Desk
from routerd.model.claim import Claim
from routerd.model.specs.claim_text import digest
from routerd.plugins.join_methods import JoinMethods
from routerd.store import open_store
from routerd_enrollment_token import payload
from routerd_enrollment_token.enrollment import TokenEnrollment
from routerd_enrollment_token.plugin import routerd_enrollments

EARLIER = Path(__file__).parent / "earlier_state"

DIGESTS = {
    "leaf-a": "sha256:fad6030f052a49755cf69a1e12c3dd42b5385b0a45c997946698af45cbaeb81f",
    "leaf-b": "sha256:8985593cc48129eaef7c69236b1e843adebd77688e900dc46f0d9d48c390e15a",
    "leaf-c": "sha256:67d3b4a73eeb7106abdcdbd3d18f9e625d0500ded937ecfbb07d87943c44c149",
    "leaf-d": "sha256:efe6926fd239ddfc09ed9ef93d0f1dc86508cbc09adbab97dd1e8ab0a2002f3d",
}


def token() -> JoinMethods:
    return methods(TokenEnrollment(), routerd_enrollments()[0])


def signed(made: Claim, minutes: int = 0) -> Claim:
    """Return the claim as its leaf signed it some minutes after `NOW`."""
    stamp = (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    stamped = attrs.evolve(made, join_nonce=f"{made.name}-{minutes}", join_timestamp=stamp)
    return attrs.evolve(stamped, join_hmac=payload.proof(stamped, "token"))


def restored(name: str, path: Path) -> Path:
    """Write a state file of the earlier routerd."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript((EARLIER / f"{name}.sql").read_text())
    path.chmod(0o600)
    return path


@asynccontextmanager
async def desk_of(tmp_path: Path, clock: QuickClock, *, manual: bool = True) -> AsyncIterator[Desk]:
    path = tmp_path / "routerd.db"
    if not path.exists():
        restored("reflector", path)
    rules = intent(policy(approval="manual" if manual else "auto"))
    rr = Reflector(path, clock, intent=rules, methods=token())
    with closing(open_store(path, clock=clock)) as store:
        assert store.salvaged is None
        desk = rr.desk(store)
        try:
            yield desk
        finally:
            await desk.aclose()


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock(NOW + timedelta(minutes=5))


async def test_every_claim_is_in_the_phase_that_it_was_in(tmp_path: Path, clock: QuickClock) -> None:
    async with desk_of(tmp_path, clock) as desk:
        assert await phases(desk) == {
            "leaf-a": ["Approved"],
            "leaf-b": ["Approved"],
            "leaf-c": ["Revoked"],
            "leaf-d": ["Approved"],
            "leaf-e": ["Pending"],
            "leaf-f": ["Rejected"],
        }
        assert desk.warnings() == []
        ends = {each.claim.name: each.expires_at for each in desk.admitted()}
    assert ends == {
        "leaf-a": NOW + timedelta(hours=24),
        "leaf-b": NOW + timedelta(hours=6),
        "leaf-c": NOW,
        "leaf-d": NOW + timedelta(hours=24),
    }


async def test_the_digests_are_those_that_the_leaves_have(tmp_path: Path, clock: QuickClock) -> None:
    async with desk_of(tmp_path, clock) as desk:
        assert {each.claim.name: each.digest for each in desk.admitted()} == DIGESTS
        for each in desk.admitted():
            if not each.claim.revoked:
                assert digest(each.claim) == each.digest
        # A leaf that asks with the digest that it computed then is served.
        served = await desk.topology(
            "rrs", "SAMEnrollmentClaim/leaf-a", digest=DIGESTS["leaf-a"], source=None
        )
        assert served.claim_digest == DIGESTS["leaf-a"]


async def test_the_same_claims_again_decide_nothing(tmp_path: Path, clock: QuickClock) -> None:
    async with desk_of(tmp_path, clock) as desk:
        before = await decisions(desk)
        ends = {each.claim.name: each.expires_at for each in desk.admitted()}
        for made in (
            attrs.evolve(signed(claim("leaf-b", 32)), expires_at="2026-06-28T18:00:00Z"),
            signed(claim("leaf-d", 34)),
        ):
            await submit(desk, made)
        assert await decisions(desk) == before
        assert {each.claim.name: each.expires_at for each in desk.admitted()} == ends
        assert {each.claim.name: each.digest for each in desk.admitted()} == DIGESTS


async def test_decisions_of_people_hold_for_renewals(tmp_path: Path, clock: QuickClock) -> None:
    async with desk_of(tmp_path, clock) as desk:
        await submit(desk, signed(claim("leaf-d", 34), 4))  # approved once: a renewal needs no approval
        assert await refusal(desk, signed(claim("leaf-f", 36), 4)) == "claim-rejected"
        assert await refusal(desk, signed(claim("leaf-c", 33), 4)) == "claim-revoked"
        assert await refusal(desk, signed(claim("leaf-e", 35))) == "approval-pending"
        await desk.decide("leaf-e", "approve", "at last")
        assert (await phases(desk))["leaf-e"] == ["Approved"]
        # A claim of the time before the policy said manual goes on by itself as well.
        await submit(desk, attrs.evolve(signed(claim("leaf-b", 32), 4), expires_at="2026-06-28T18:00:00Z"))
        assert (await phases(desk))["leaf-b"] == ["Approved"]


async def test_used_nonces_stay_used(tmp_path: Path, clock: QuickClock) -> None:
    async with desk_of(tmp_path, clock, manual=False) as desk:
        moved = attrs.evolve(claim("leaf-b", 32), endpoint="198.51.100.99")
        stamped = attrs.evolve(
            moved, join_nonce="leaf-b-0", join_timestamp=(NOW + timedelta(minutes=1)).isoformat()
        )
        again = attrs.evolve(stamped, join_hmac=payload.proof(stamped, "token"))
        assert await refusal(desk, again) == "join-nonce-used"


async def test_the_audit_trail_is_the_same(tmp_path: Path, clock: QuickClock) -> None:
    async with desk_of(tmp_path, clock) as desk:
        found: Sequence[tuple[str, str]] = [(each.decision, each.claim) for each in await trail(desk)]
    assert found == [
        ("admitted", "leaf-a"),
        ("admitted", "leaf-b"),
        ("admitted", "leaf-c"),
        ("revoked", "leaf-c"),
        ("pending", "leaf-d"),
        ("pending", "leaf-e"),
        ("pending", "leaf-f"),
        ("approved", "leaf-d"),
        ("admitted", "leaf-d"),
        ("rejected", "leaf-f"),
    ]


class TestLeaf:
    @pytest.fixture
    def leaf(self, tmp_path: Path, clock: QuickClock) -> Leaf:
        store = open_store(restored("leaf", tmp_path / "leaf.db"), clock=clock)
        return Leaf(store, clock, methods=token())

    async def test_it_goes_on_with_the_claim_that_it_signed(
        self, tmp_path: Path, clock: QuickClock, leaf: Leaf
    ) -> None:
        rr = Reflector(restored("reflector", tmp_path / "rr.db"), clock, methods=token())
        async with rr.up():
            enroller = leaf.enroller(rr.url)
            await enroller._recall()
            await enroller.step()
            assert enroller.status.phase == "Ready", enroller.status.message
            assert enroller.status.claim_digest == DIGESTS["leaf-a"]
            decided = [each.decision for each in await rr.open.audit(limit=100, claim="leaf-a")]
            assert decided == ["admitted"]
        assert "claim.signed" not in leaf.log.events()
        assert leaf.store.own_signers()["leaf-a"].startswith("token hmac-sha256:")

    async def test_a_token_that_was_exchanged_meanwhile_is_noticed(
        self, tmp_path: Path, clock: QuickClock, leaf: Leaf
    ) -> None:
        rr = Reflector(restored("reflector", tmp_path / "rr.db"), clock, methods=token(), secret="new")
        leaf.secret = "new"
        async with rr.up():
            enroller = leaf.enroller(rr.url)
            await enroller._recall()
            await enroller.step()
            assert enroller.status.phase == "Ready", enroller.status.message
            assert enroller.status.claim_digest != DIGESTS["leaf-a"]
            decided = [each.decision for each in await rr.open.audit(limit=100, claim="leaf-a")]
            assert decided == ["admitted", "renewed"]

    async def test_it_has_its_reflectors_before_any_of_them_answers(self, leaf: Leaf) -> None:
        enroller = leaf.enroller("http://127.0.0.1:1")
        await enroller._recall()
        assert enroller.status.reflectors == 1
        assert enroller.claim is not None
        assert digest(enroller.claim) == DIGESTS["leaf-a"]


def test_the_files_are_those_of_the_schema_before(tmp_path: Path) -> None:
    """They would prove nothing if this routerd had written them."""
    for name in ("reflector", "leaf"):
        path = restored(name, tmp_path / f"{name}.db")
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA user_version").fetchone() == (3,)
            columns = [row[1] for row in database.execute("PRAGMA table_info(own_claims)")]
            assert columns == ["name", "body"]
            bodies = [body for (body,) in database.execute("SELECT body FROM claims")]
        assert not any('"method"' in body for body in bodies)
