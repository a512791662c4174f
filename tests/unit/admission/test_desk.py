"""The desk: revocation, several tokens, proofs, what is set aside, and the audit trail."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import attrs
import pytest
from tests.unit.admission.desk_world import SOURCE, at, decisions, phases, refusal, submit, trail
from tests.unit.admission.enrollment_world import (
    NOW,
    TOKEN,
    Leaf,
    QuickClock,
    Reflector,
    claim,
    intent,
    methods,
    policy,
    signed,
)

from routerd.admission.desk import Desk
from routerd.errors import EnrollmentRefused
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.specs import SecretSource
from routerd.model.specs.claim_text import digest as digest_of
from routerd.store import open_store
from routerd.testing.clock import FakeClock

OTHER = SecretSource(env="OTHER_TOKEN")


class TestRevocation:
    async def test_a_revoked_leaf_comes_back_only_when_somebody_lets_it(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock, tmp_path: Path
    ) -> None:
        """Also when it renews its claim for the sake of another reflector."""
        other = Reflector(tmp_path / "other.db", clock)
        async with rr.up(), other.up():
            enroller = leaf.enroller(rr.url, other.url)
            await enroller.step()
            await rr.open.decide("leaf-a", "revoke", "stolen")
            await clock.advance(timedelta(hours=17).total_seconds())
            await enroller.step()
            assert len(leaf.claims) == 2  # it was renewed
            assert enroller.status.phase == "Degraded"
            assert [each.reason for each in enroller.status.endpoints] == ["claim-revoked", ""]
            await rr.open.decide("leaf-a", "approve", "found again")
            for _ in range(3):
                await clock.advance(61)
                await enroller.step()
            assert enroller.status.phase == "Ready"
            assert await phases(rr.open) == {"leaf-a": ["Approved"]}

    async def test_what_was_revoked_does_not_return_with_its_key(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            await submit(desk, await signed(claim()))
            await desk.decide("leaf-a", "revoke", "stolen")
        async with at(rr) as desk:
            thief = claim("leaf-b", 32, wireguard=claim().wireguard)
            assert await refusal(desk, await signed(thief, minutes=1)) == "claim-revoked"
            await submit(desk, await signed(claim("leaf-c", 31)))  # what it held is free

    async def test_a_revocation_that_only_the_second_copy_knows_holds(self, rr: Reflector) -> None:
        """A kill between the two writes, or a state file from an older copy."""
        async with at(rr) as desk:
            await submit(desk, await signed(claim()))
        old = rr.path.read_bytes()
        async with at(rr) as desk:
            await desk.decide("leaf-a", "revoke", "stolen")
        rr.path.write_bytes(old)
        async with at(rr) as desk:
            assert await phases(desk) == {"leaf-a": ["Revoked"]}
            assert not any(each.active(rr.clock.now()) for each in desk.admitted())
            assert await refusal(desk, await signed(claim(), minutes=1)) == "claim-revoked"


class TestTokens:
    @pytest.fixture
    def secrets(self) -> dict[SecretSource, str]:
        return {TOKEN: "new", OTHER: "old"}

    async def test_two_tokens_hold_while_they_are_exchanged(
        self, rr: Reflector, secrets: dict[SecretSource, str]
    ) -> None:
        rr.intent = intent(policy(join_tokens_from=(OTHER,)))
        async with rr.up() as store:
            desk = rr.desk(store, secret=secrets.__getitem__)
            await submit(desk, await signed(claim(), secret="old"))
            before = desk.admitted()[0]
            await submit(desk, await signed(claim("leaf-b", 32), secret="new"))
            assert await refusal(desk, await signed(claim("leaf-c", 33), secret="else")) == (
                "join-hmac-mismatch"
            )
            # The leaf gets the new token: nothing that was derived from its claim changes.
            await rr.clock.advance(600)
            await submit(desk, await signed(claim(), minutes=5, secret="new"))
            after = next(each for each in desk.admitted() if each.claim.name == "leaf-a")
            assert unsigned(after.claim) == unsigned(before.claim)
            assert after.admitted_at == before.admitted_at
            rr.intent = intent()
            assert await refusal(desk, await signed(claim("leaf-d", 34), secret="old")) == (
                "join-hmac-mismatch"
            )
            await desk.aclose()

    async def test_a_token_is_read_anew(self, rr: Reflector, clock: QuickClock) -> None:
        # The rule is that this does not raise.
        async with rr.up():
            await submit(rr.open, await signed(claim()))
            rr.secret = "changed"
            await clock.advance(2)
            await submit(rr.open, await signed(claim("leaf-b", 32), secret="changed"))

    async def test_a_token_that_cannot_be_read_does_not_keep_the_other_from_serving(
        self, rr: Reflector, tmp_path: Path
    ) -> None:
        good = tmp_path / "token"
        good.write_text("new\n")
        missing = SecretSource(file=tmp_path / "missing")
        rr.intent = intent(policy(join_token_from=SecretSource(file=good), join_tokens_from=(missing,)))
        store = open_store(rr.path, clock=rr.clock)
        desk = Desk(
            store=store,
            intent=lambda: rr.intent,
            methods=methods(),
            clock=rr.clock,
            log=rr.log,
            on_change=rr.changed,
        )
        await submit(desk, await signed(claim(), secret="new"))
        assert await refusal(desk, await signed(claim("leaf-b", 32), secret="old")) == "join-token-unreadable"
        await desk.aclose()
        store.close()


def unsigned(made: Claim) -> Claim:
    return attrs.evolve(made, join_nonce="", join_timestamp="", join_hmac="")


class TestProof:
    REF = "SAMEnrollmentClaim/leaf-a"

    async def test_only_who_has_the_claim_learns_who_the_reflectors_are(self, rr: Reflector) -> None:
        made = await signed(claim())
        async with at(rr) as desk:
            await submit(desk, made)
            digest = digest_of(made)
            served = await desk.topology("rrs", self.REF, digest=digest, source=None)
            assert served.claim_digest == digest
            # A leaf of the seed's time sends no digest, and is known by its address.
            await desk.topology("rrs", self.REF, digest="", source=SOURCE)
            for digest, source in (
                ("sha256:" + "0" * 64, SOURCE),
                ("", IPv4Address("198.51.100.99")),
                ("", None),
            ):
                with pytest.raises(EnrollmentRefused) as refused:
                    await desk.topology("rrs", self.REF, digest=digest, source=source)
                assert refused.value.reason == "proof-required"

    async def test_the_digest_is_of_the_claim_as_it_was_submitted(self, rr: Reflector) -> None:
        made = attrs.evolve(await signed(claim()), expires_at="2026-06-28T18:00:00Z")
        async with at(rr) as desk:
            await submit(desk, made)
        # The rule is that this does not raise.
        async with at(rr) as desk:
            await desk.topology("rrs", self.REF, digest=digest_of(made), source=None)

    async def test_a_leaf_that_moved_submits_again_and_is_served(self, rr: Reflector) -> None:
        made = await signed(claim())
        moved = IPv4Address("198.51.100.77")
        async with at(rr) as desk:
            await submit(desk, made)
            await submit(desk, made, moved)
            await desk.topology("rrs", self.REF, digest="", source=moved)
            assert await decisions(desk) == ["admitted"]


class TestQuarantine:
    async def test_one_bad_claim_is_set_aside_alone(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            for name, number in (("leaf-a", 31), ("leaf-b", 32), ("leaf-c", 33), ("leaf-d", 34)):
                await submit(desk, await signed(claim(name, number)))
        with sqlite3.connect(rr.path) as connection:
            # Without the checksum, as an earlier routerd wrote it.
            set_body = "UPDATE claims SET body = replace(substr(body, 10), ?, ?) WHERE name = ?"
            connection.execute(set_body, ("10.77.60.32/32", "10.77.60.3x", "leaf-b"))  # no address
            connection.execute(set_body, ("10.77.60.33/32", "10.77.60.31/32", "leaf-c"))  # another's
            connection.execute("UPDATE claims SET body = '{' WHERE name = 'leaf-d'")
        connection.close()
        async with at(rr) as desk:
            assert [each.claim.name for each in desk.admitted()] == ["leaf-a"]
            assert await phases(desk) == {
                "leaf-a": ["Approved"],
                "leaf-b": ["Quarantined"],
                "leaf-c": ["Quarantined"],
                "leaf-d": ["Quarantined"],
            }
            words = "\n".join(desk.warnings())
            assert "claim leaf-b: quarantined" in words
            assert "10.77.60.3x" in words
            assert "held by claim leaf-a" in words
            assert "damaged" in words
            assert rr.log.events("error").count("claim.quarantined") == 3
            # Its leaf submits it again, and it is whole.
            await submit(desk, await signed(claim("leaf-b", 32), minutes=1))
            await desk.decide("leaf-d", "revoke", "")
            assert await phases(desk) == {
                "leaf-a": ["Approved"],
                "leaf-b": ["Approved"],
                "leaf-c": ["Quarantined"],
            }
        async with at(rr) as desk:
            assert set(await phases(desk)) == {"leaf-a", "leaf-b", "leaf-c"}


class TestAudit:
    async def test_who_decided_what_from_where_and_why(self, tmp_path: Path) -> None:
        rr = Reflector(tmp_path / "rr.db", FakeClock(NOW))  # all of it in one second of the clock
        made = await signed(claim())
        async with at(rr) as desk:
            await submit(desk, made)
            await submit(desk, made)  # again: nothing was decided
            await rr.clock.advance(600)
            await submit(desk, await signed(claim(), minutes=5))
            thief = await signed(claim("leaf-b", 32, owned_addresses=("10.77.60.31/32",)))
            for _ in range(1000):
                await refusal(desk, thief)
            await desk.decide("leaf-a", "revoke", "lost")
            found = await trail(desk)
        # Refusals are written a moment later, so that they do not cost an fsync each.
        assert [(each.decision, each.reason, each.count) for each in found] == [
            ("admitted", "", 1),
            ("renewed", "", 1),
            ("revoked", "", 1),
            ("refused", "owned-address-taken", 1000),
        ]
        refused = next(each for each in found if each.decision == "refused")
        assert refused.source == str(SOURCE)
        assert "held by leaf leaf-a" in str(refused.message)
        async with at(rr) as desk:
            again = await trail(desk)
            assert again == found
            assert [each.claim for each in await trail(desk, "leaf-b")] == ["leaf-b"]

    async def test_a_stranger_cannot_wash_out_what_was_decided(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            await submit(desk, await signed(claim()))
            for number in range(500):
                await refusal(desk, claim(f"x{number}", 32))
            kinds = await decisions(desk)
        # Folded: one entry for all that came after the two hundredth of this second.
        assert kinds.count("refused") < 300
        assert rr.path.stat().st_size < 1 << 20


class TestClock:
    async def test_what_ended_and_was_taken_over_stays_ended_when_the_clock_goes_back(
        self, rr: Reflector, clock: QuickClock
    ) -> None:
        async with at(rr) as desk:
            await submit(desk, await signed(claim()))
            clock.jump(timedelta(hours=25))
            late = claim("leaf-b", 32, owned_addresses=("10.77.60.31/32",))
            await submit(desk, await signed(late, minutes=25 * 60))
            clock.jump(timedelta(hours=-24))
            active = [each.claim.name for each in desk.admitted() if each.active(clock.now())]
            assert active == ["leaf-b"]
        async with at(rr) as desk:
            active = [each.claim.name for each in desk.admitted() if each.active(clock.now())]
            assert active == ["leaf-b"]

    async def test_a_claim_that_nobody_renews_is_announced_before_its_end(
        self, rr: Reflector, clock: QuickClock
    ) -> None:
        async with at(rr) as desk:
            await submit(desk, await signed(claim()))
            await clock.advance(timedelta(hours=19).total_seconds())
            assert desk.warnings() == []
            await clock.advance(timedelta(hours=2).total_seconds())
            (text,) = desk.warnings()
            assert "claim leaf-a of leaf leaf-a ends at 2026-06-29T12:00:00Z" in text

    async def test_a_leaf_that_cannot_renew_says_so_in_time(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        made = await signed(claim())
        async with rr.up():
            enroller = leaf.enroller(rr.url, of=made, signs=False)
            await enroller.step()
            assert enroller.status.ends == NOW + timedelta(hours=24)
            assert enroller.status.warning == ""
            await clock.advance(timedelta(hours=18, minutes=30).total_seconds())
            await enroller.step()
            assert enroller.status.phase == "Ready"
            assert "ends at 2026-06-29T12:00:00Z: this leaf cannot renew it" in enroller.status.warning
            assert "claim.ends" in leaf.log.events("warning")


class TestAbuse:
    @pytest.mark.parametrize(
        ("minutes", "reason"),
        [(0, "join-nonce-used"), (25 * 60, "claim-expired")],
    )
    async def test_a_replay_under_another_name(self, rr: Reflector, minutes: int, reason: str) -> None:
        made = await signed(claim())
        async with at(rr) as desk:
            await submit(desk, made)
            await rr.clock.advance(minutes * 60)
            assert await refusal(desk, attrs.evolve(made, name="copy")) == reason

    async def test_a_replay_of_what_was_replaced(self, rr: Reflector) -> None:
        old = await signed(claim())
        async with at(rr) as desk:
            await submit(desk, old)
            await rr.clock.advance(600)
            await submit(desk, await signed(claim(), minutes=5))
            assert await refusal(desk, old) == "join-nonce-used"

    async def test_a_replay_after_revocation(self, rr: Reflector) -> None:
        old = await signed(claim())
        async with at(rr) as desk:
            await submit(desk, old)
            await desk.decide("leaf-a", "revoke", "")
            assert await refusal(desk, old) == "claim-revoked"
            await desk.decide("leaf-a", "approve", "")
            assert await refusal(desk, old) == "signed-before-revocation"

    async def test_the_audience_of_another_fabric(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            assert await refusal(desk, await signed(claim(join_audience="other"))) == "join-audience-mismatch"

    async def test_the_token_of_another_policy(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            assert await refusal(desk, await signed(claim(), secret="of q")) == "join-hmac-mismatch"

    async def test_a_thousand_at_once_for_one_name(self, rr: Reflector) -> None:
        made = [
            await signed(claim(f"leaf-{n}", 31, name="leaf", wireguard=None), minutes=0) for n in range(1000)
        ]
        made = [await signed(attrs.evolve(each, join_nonce=f"n{n}")) for n, each in enumerate(made)]
        rr.intent = intent(policy(tunnel_address_prefixes=policy().tunnel_address_prefixes))
        async with at(rr) as desk:
            results = await asyncio.gather(*(submit(desk, each) for each in made), return_exceptions=True)
            admitted = [each for each in results if not isinstance(each, BaseException)]
            refused = {each.reason for each in results if isinstance(each, EnrollmentRefused)}
            assert len(admitted) == 1
            assert len(results) == 1000
            assert refused == {"claim-name-taken"}
        async with at(rr) as desk:
            assert len(desk.admitted()) == 1

    async def test_two_leaves_for_one_address_at_the_same_moment(self, rr: Reflector) -> None:
        made = [
            await signed(claim(f"leaf-{n}", 40 + n, owned_addresses=("10.77.60.1/32",))) for n in range(2)
        ]
        async with at(rr) as desk:
            results = await asyncio.gather(*(submit(desk, each) for each in made), return_exceptions=True)
            assert [type(each) for each in results] == [type(None), EnrollmentRefused]


class TestReflectors:
    async def test_one_that_was_down_gets_the_claim_within_a_retry(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock, tmp_path: Path
    ) -> None:
        """However long it was down: the pause towards a silent reflector does not grow beyond a minute."""
        other = Reflector(tmp_path / "other.db", clock)
        async with other.up():
            pass
        async with rr.up():
            enroller = leaf.enroller(rr.url, other.url)
            for _ in range(30):
                await enroller.step()
                await clock.advance(60)
            assert enroller.status.phase == "Degraded"
            await enroller.step()
            async with other.up() as store:
                await clock.advance(60)
                await enroller.step()
                assert [each.claim for each in store.admitted()] == [enroller.claim]
            assert enroller.status.phase == "Ready"

    async def test_one_with_a_damaged_state_file_is_filled_by_its_leaves(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        async with rr.up():
            enroller = leaf.enroller(rr.url)
            await enroller.step()
            await submit(rr.open, await signed(claim("leaf-z", 99)))
            await rr.open.decide("leaf-z", "revoke", "stolen")
        rr.path.write_bytes(b"\0" * 8192)
        async with rr.up() as store:
            assert store.salvaged is not None
            assert "set aside as" in store.notes()[0]
            assert rr.open.admitted() == ()
            await clock.advance(61)
            await enroller.step()
            assert [each.claim for each in store.admitted()] == [enroller.claim]
            assert await refusal(rr.open, await signed(claim("leaf-z", 99), minutes=1)) == "claim-revoked"
        assert enroller.status.phase == "Ready"

    async def test_claims_are_kept_apart(self, rr: Reflector, clock: QuickClock, tmp_path: Path) -> None:
        """Reflectors share no store: each decides on its own, and the leaf says who did not accept."""
        strict = Reflector(tmp_path / "other.db", clock, intent=intent(policy(approval="manual")))
        leaf = Leaf(open_store(tmp_path / "leaf.db", clock=clock), clock)
        async with rr.up(), strict.up():
            enroller = leaf.enroller(rr.url, strict.url)
            await enroller.step()
            accepted = [each.accepted for each in enroller.status.endpoints]
            assert accepted == [True, False]
            assert enroller.status.phase == "Degraded"
            assert "waits for approval" in enroller.status.message


async def test_everything_of_a_claim_comes_back_from_the_disk(rr: Reflector) -> None:
    made = await signed(claim())
    async with at(rr) as desk:
        await submit(desk, made)
        before: tuple[AdmittedClaim, ...] = desk.admitted()
    async with at(rr) as desk:
        assert desk.admitted() == before
    assert before[0].source == SOURCE
