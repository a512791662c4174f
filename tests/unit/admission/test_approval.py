"""Approval: who waits, who need not, and what somebody decides."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.admission.desk_world import at, decisions, phases, refusal, submit
from tests.unit.admission.enrollment_world import (
    Leaf,
    QuickClock,
    Reflector,
    claim,
    intent,
    policy,
    signed,
)

from routerd.errors import EnrollmentRefused


class TestApproval:
    @pytest.fixture
    def rr(self, tmp_path: Path, clock: QuickClock) -> Reflector:
        return Reflector(tmp_path / "rr.db", clock, intent=intent(policy(approval="manual")))

    async def test_a_claim_waits_until_somebody_approves_it(self, rr: Reflector) -> None:
        made = await signed(claim())
        async with at(rr) as desk:
            assert await refusal(desk, made) == "approval-pending"
            assert await phases(desk) == {"leaf-a": ["Pending"]}
            assert desk.admitted() == ()
        async with at(rr) as desk:  # it is on the disk
            assert await phases(desk) == {"leaf-a": ["Pending"]}
            assert (await desk.decide("leaf-a", "approve", "known")).phase == "Approved"
            assert [each.claim for each in desk.admitted()] == [made]
            await submit(desk, made)
        async with at(rr) as desk:
            assert await phases(desk) == {"leaf-a": ["Approved"]}
            assert await decisions(desk) == ["pending", "approved", "admitted"]

    async def test_an_approved_leaf_renews_by_itself_and_asks_for_anything_else(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            await refusal(desk, await signed(claim()))
            await desk.decide("leaf-a", "approve", "")
            await rr.clock.advance(600)
            await submit(desk, await signed(claim(), minutes=5))
            more = claim(owned_addresses=("10.77.60.31/32", "10.77.60.32/32"))
            assert await refusal(desk, await signed(more, minutes=6)) == "approval-pending"
            # What holds goes on meanwhile.
            assert await phases(desk) == {"leaf-a": ["Approved", "Pending"]}
            assert desk.admitted()[0].claim.owned_addresses == ("10.77.60.31/32",)

    async def test_what_was_admitted_before_approval_was_asked_for_goes_on(self, rr: Reflector) -> None:
        manual, rr.intent = rr.intent, intent()
        # The rule is that this does not raise.
        async with at(rr) as desk:
            await submit(desk, await signed(claim()))
            rr.intent = manual
            await rr.clock.advance(600)
            await submit(desk, await signed(claim(), minutes=5))

    async def test_a_rejected_claim_stays_out_until_it_is_approved(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            await refusal(desk, await signed(claim()))
            await desk.decide("leaf-a", "reject", "who is that?")
            assert await refusal(desk, await signed(claim(), minutes=1)) == "claim-rejected"
            assert await phases(desk) == {"leaf-a": ["Rejected"]}
        async with at(rr) as desk:
            assert await refusal(desk, await signed(claim(), minutes=2)) == "claim-rejected"
            await desk.decide("leaf-a", "approve", "a mistake")
            await submit(desk, await signed(claim(), minutes=3))
            assert await phases(desk) == {"leaf-a": ["Approved"]}

    async def test_what_somebody_looks_at_does_not_change_under_their_eyes(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            first = await signed(claim())
            await refusal(desk, first)
            thief = claim("leaf-b", 32, name="leaf-a")
            assert await refusal(desk, await signed(thief, minutes=1)) == "claim-name-pending"
            other = claim(owned_addresses=("10.77.60.99/32",))
            assert await refusal(desk, await signed(other, minutes=1)) == "claim-name-pending"
            await desk.decide("leaf-a", "approve", "")
            assert [each.claim for each in desk.admitted()] == [first]

    async def test_a_revocation_also_ends_what_waits(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            await refusal(desk, await signed(claim()))
            await desk.decide("leaf-a", "approve", "")
            more = claim(owned_addresses=("10.77.60.31/32", "10.77.60.32/32"))
            await refusal(desk, await signed(more, minutes=1))
            await desk.decide("leaf-a", "revoke", "stolen")
            assert await phases(desk) == {"leaf-a": ["Revoked"]}
            await desk.decide("leaf-a", "approve", "found")
            await rr.clock.advance(600)
            await submit(desk, await signed(claim(), minutes=5))

    async def test_of_two_that_wait_for_one_address_the_first_approved_has_it(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            for name, number in (("leaf-a", 31), ("leaf-b", 32)):
                await refusal(desk, await signed(claim(name, number, owned_addresses=("10.77.60.1/32",))))
            await desk.decide("leaf-b", "approve", "")
            with pytest.raises(EnrollmentRefused, match="held by leaf leaf-b"):
                await desk.decide("leaf-a", "approve", "")
            assert await phases(desk) == {"leaf-a": ["Pending"], "leaf-b": ["Approved"]}

    async def test_a_claim_that_ended_while_it_waited_is_approved_for_the_next(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            await refusal(desk, await signed(claim()))
            await rr.clock.advance(timedelta(hours=25).total_seconds())
            assert await phases(desk) == {"leaf-a": ["Expired"]}
            done = await desk.decide("leaf-a", "approve", "")
            assert "signs a new claim" in done.message
            await submit(desk, await signed(claim(), minutes=25 * 60))

    async def test_what_cannot_be_decided_says_why(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            for verb in ("approve", "revoke"):
                with pytest.raises(EnrollmentRefused) as refused:
                    await desk.decide("nobody", verb, "")
                assert refused.value.reason == "claim-unknown"
            with pytest.raises(EnrollmentRefused, match="not known here"):
                await desk.decide("nobody", "reject", "")
            await refusal(desk, await signed(claim()))
            await desk.decide("leaf-a", "approve", "")
            with pytest.raises(EnrollmentRefused, match="enroll revoke leaf-a"):
                await desk.decide("leaf-a", "reject", "")

    async def test_a_leaf_that_waits_says_so_and_joins_soon_after(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        async with rr.up():
            enroller = leaf.enroller(rr.url)
            for _ in range(8):
                await enroller.step()
                await clock.advance(60)
            status = enroller.status
            assert (status.phase, status.reason) == ("Pending", "approval-pending")
            assert "routerd enroll approve leaf-a" in status.message
            await enroller.step()
            await rr.open.decide("leaf-a", "approve", "")
            await clock.advance(31)
            await enroller.step()
            assert enroller.status.phase == "Ready"
            # Waiting is one entry, not one for each time that the leaf asked.
            assert await decisions(rr.open) == ["pending", "approved", "admitted"]
