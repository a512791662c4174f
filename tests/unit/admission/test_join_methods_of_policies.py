"""The desk asks the join method of the policy: by keys, with challenges, by none, and by one that fails."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import attrs
import pytest
from tests.unit.admission.desk_world import SOURCE, at, phases, refusal, submit, trail
from tests.unit.admission.enrollment_world import (
    NOW,
    Odd,
    QuickClock,
    Reflector,
    claim,
    intent,
    key,
    methods,
    policy,
)

from routerd.admission.desk import Desk
from routerd.admission.proof.challenges import LIFE_SECONDS, MOST_USED, Challenges
from routerd.control.ports import ChallengeAsked, PresentedProof
from routerd.errors import EnrollmentRefused, JoinMethodFailed
from routerd.model.claim import Claim
from routerd.model.specs.claim_codec import claim_to_document
from routerd.plugins.join_methods import JoinMethods
from routerd.spi import JoinMethod, Proof, Signing
from routerd.testing.clock import FakeClock
from routerd.testing.fakes.enrollment_keys import (
    FakeKey,
    FakeKeyEnrollment,
    FakeKeys,
    key_enrollment_provider,
    public_half,
)

POLICY = "SAMEnrollmentPolicy/p"
KEYS = FakeKeys(keys={leaf: public_half(f"of {leaf}") for leaf in ("leaf-a", "leaf-b")})


def keyed(*, challenges: bool = False) -> JoinMethods:
    described = key_enrollment_provider(challenges=challenges)
    return methods(FakeKeyEnrollment("keys"), described, options={POLICY: KEYS})


def stamped(made: Claim, minutes: int = 0) -> Claim:
    stamp = (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return attrs.evolve(made, join_nonce=f"{made.name}-{minutes}", join_timestamp=stamp)


async def proven(made: Claim, challenge: str = "", *, seed: str = "") -> PresentedProof:
    signing = Signing(claim=made, options=FakeKey(seed=seed or f"of {made.leaf_id}"), challenge=challenge)
    proof = await FakeKeyEnrollment("keys").sign(signing)
    return PresentedProof(method="keys", challenge=challenge, proof=proof)


async def join(desk: Desk, made: Claim, proof: PresentedProof | None) -> None:
    await desk.submit(claim_to_document(made), SOURCE, proof)


async def refused(desk: Desk, made: Claim, proof: PresentedProof | None) -> str:
    with pytest.raises(EnrollmentRefused) as caught:
        await join(desk, made, proof)
    return caught.value.reason


def asked(made: Claim, **changed: str) -> ChallengeAsked:
    question = ChallengeAsked(policy_ref=made.policy_ref, leaf_id=made.leaf_id, public_key=made.public_key)
    return attrs.evolve(question, **changed)


@pytest.fixture
def rr(tmp_path: Path, clock: QuickClock) -> Reflector:
    return Reflector(
        tmp_path / "rr.db",
        clock,
        intent=intent(policy(join_method="keys", join_token_from=None)),
        methods=keyed(),
    )


class TestKeys:
    async def test_a_leaf_joins_by_its_own_key_and_the_claim_says_how(self, rr: Reflector) -> None:
        made = stamped(claim())
        async with at(rr) as desk:
            await join(desk, made, await proven(made))
            (admitted,) = desk.admitted()
            assert (admitted.claim, admitted.method) == (made, "keys")
            (report,) = await desk.claims()
            assert report.status.method == "keys"

    async def test_another_proof_of_the_same_claim_decides_nothing(self, rr: Reflector) -> None:
        made = stamped(claim())
        async with at(rr) as desk:
            first, second = await proven(made), await proven(made)
            assert first != second
            await join(desk, made, first)
            before = desk.admitted()
            await rr.clock.advance(600)
            await join(desk, made, second)
            assert desk.admitted() is before
            assert [each.decision for each in await trail(desk)] == ["admitted"]
        async with at(rr) as desk:  # also after a restart
            await join(desk, made, second)
            assert [each.decision for each in await trail(desk)] == ["admitted"]

    async def test_a_renewal_is_one(self, rr: Reflector) -> None:
        async with at(rr) as desk:
            for minutes in (0, 5):
                await rr.clock.advance(60 * minutes)
                made = stamped(claim(), minutes)
                await join(desk, made, await proven(made))
            assert [each.decision for each in await trail(desk)] == ["admitted", "renewed"]

    async def test_the_codes_of_a_plugin_are_in_the_trail_like_those_of_the_core(self, rr: Reflector) -> None:
        made = stamped(claim())
        async with at(rr) as desk:
            assert await refused(desk, made, await proven(made, seed="of another")) == "fake-proof-wrong"
            assert await refused(desk, made, None) == "fake-proof-invalid"
            stranger = stamped(claim("leaf-x", 40))
            assert await refused(desk, stranger, await proven(stranger)) == "fake-key-unknown"
            found = {(each.claim, each.reason) for each in await trail(desk)}
        assert found == {
            ("leaf-a", "fake-proof-wrong"),
            ("leaf-a", "fake-proof-invalid"),
            ("leaf-x", "fake-key-unknown"),
        }

    async def test_a_proof_of_another_claim_is_refused_whatever_differs(self, rr: Reflector) -> None:
        made = stamped(claim())
        proof = await proven(made)
        async with at(rr) as desk:
            for changed in (
                {"name": "leaf-z"},
                {"owned_addresses": ("10.77.60.99/32",)},
                {"wireguard": claim("leaf-b", 32).wireguard},
                {"expires_at": "2026-06-28T13:00:00Z"},
                {"join_nonce": "another"},
            ):
                assert await refused(desk, attrs.evolve(made, **changed), proof) == "fake-proof-wrong"

    async def test_the_methods_of_policy_and_leaf_must_be_one(self, rr: Reflector) -> None:
        made = stamped(claim())
        proof = attrs.evolve(await proven(made), method="other")
        async with at(rr) as desk:
            with pytest.raises(EnrollmentRefused, match="set joinMethod: keys") as caught:
                await join(desk, made, proof)
            assert caught.value.reason == "join-method-mismatch"

    @pytest.mark.parametrize(
        ("field", "reason"),
        [("join_nonce", "join-nonce-required"), ("join_timestamp", "join-timestamp-required")],
    )
    async def test_nonce_and_time_are_required_whatever_the_method(
        self, rr: Reflector, field: str, reason: str
    ) -> None:
        made = attrs.evolve(stamped(claim()), **{field: ""})
        async with at(rr) as desk:
            assert await refused(desk, made, await proven(made)) == reason

    async def test_a_policy_without_method_of_that_name_fails_in_words(self, rr: Reflector) -> None:
        rr.methods = methods()
        made = stamped(claim())
        async with at(rr) as desk:
            with pytest.raises(JoinMethodFailed, match="join method keys: no enabled plugin provides it"):
                await join(desk, made, await proven(made))


class TestNone:
    async def test_a_policy_that_says_none_asks_nobody(self, rr: Reflector) -> None:
        rr.intent = intent(policy(join_method="none", join_token_from=None))
        rr.methods = JoinMethods({}, log=rr.log)
        async with at(rr) as desk:
            await submit(desk, claim())
            assert await phases(desk) == {"leaf-a": ["Approved"]}
            (admitted,) = desk.admitted()
            assert admitted.method == "none"

    async def test_a_policy_without_any_secret_asks_its_method(self, rr: Reflector) -> None:
        """It used to be open: a claim with a proof of nothing was admitted."""
        rr.intent = intent(policy(join_token_from=None))
        rr.methods = methods()
        async with at(rr) as desk:
            assert await refusal(desk, stamped(claim(join_hmac="garbage"))) == "join-hmac-mismatch"
            assert await phases(desk) == {}


class TestChallenges:
    @pytest.fixture(autouse=True)
    def _challenged(self, rr: Reflector) -> None:
        rr.methods = keyed(challenges=True)

    async def test_a_claim_answers_a_challenge_and_each_serves_once(self, rr: Reflector) -> None:
        made = stamped(claim())
        async with at(rr) as desk:
            issued = await desk.challenge(asked(made), SOURCE)
            assert issued.method == "keys"
            assert issued.expires_at == NOW + timedelta(seconds=LIFE_SECONDS)
            proof = await proven(made, issued.challenge)
            await join(desk, made, proof)
            assert await refused(desk, made, proof) == "join-challenge-invalid"
            again = await desk.challenge(asked(made), SOURCE)
            assert again.challenge != issued.challenge
            await join(desk, made, await proven(made, again.challenge))
            assert [each.decision for each in await trail(desk) if each.decision != "refused"] == ["admitted"]

    async def test_without_one_nobody_joins(self, rr: Reflector) -> None:
        made = stamped(claim())
        async with at(rr) as desk:
            assert await refused(desk, made, await proven(made)) == "join-challenge-required"
            assert await refused(desk, made, None) == "join-challenge-required"
            for text in ("x", "x" * 75, "A" * 76, "\u00e9", "=" * 8):
                assert await refused(desk, made, await proven(made, text)) == "join-challenge-invalid"

    async def test_it_is_of_one_leaf_and_key_and_policy_and_desk(self, rr: Reflector, tmp_path: Path) -> None:
        made = stamped(claim())
        other = attrs.evolve(rr, path=tmp_path / "other.db")
        async with at(rr) as desk, at(other) as elsewhere:
            for question in (
                asked(made, leaf_id="leaf-b"),
                asked(made, public_key=key("another")),
                asked(made, public_key=""),
            ):
                issued = await desk.challenge(question, SOURCE)
                assert await refused(desk, made, await proven(made, issued.challenge)) == (
                    "join-challenge-invalid"
                )
            foreign = await elsewhere.challenge(asked(made), SOURCE)
            assert (
                await refused(desk, made, await proven(made, foreign.challenge)) == "join-challenge-invalid"
            )

    async def test_it_ends_by_itself(self, rr: Reflector) -> None:
        made = stamped(claim())
        async with at(rr) as desk:
            issued = await desk.challenge(asked(made), SOURCE)
            await rr.clock.advance(LIFE_SECONDS + 1)
            with pytest.raises(EnrollmentRefused, match="older than 60 s; fetch a new one") as caught:
                await join(desk, made, await proven(made, issued.challenge))
            assert caught.value.reason == "join-challenge-invalid"

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"policy_ref": "SAMEnrollmentPolicy/x"}, "policy-unknown"),
            ({"policy_ref": "SAMRRSet/p"}, "policy-unknown"),
            ({"leaf_id": "-"}, "leaf-id-invalid"),
            ({"leaf_id": "leaf\u0430"}, "leaf-id-invalid"),
            ({"public_key": "short"}, "wireguard-key-invalid"),
        ],
    )
    async def test_a_question_that_makes_no_sense_is_refused(
        self, rr: Reflector, changed: dict[str, str], reason: str
    ) -> None:
        async with at(rr) as desk:
            with pytest.raises(EnrollmentRefused) as caught:
                await desk.challenge(asked(claim(), **changed), SOURCE)
            assert caught.value.reason == reason
            (entry,) = await trail(desk)
            assert (entry.decision, entry.reason, entry.source) == ("refused", reason, str(SOURCE))

    @pytest.mark.parametrize("kind", ["keys", "none"])
    async def test_a_method_that_wants_none_gets_none(self, rr: Reflector, kind: str) -> None:
        rr.methods = keyed()
        rr.intent = intent(policy(join_method=kind, join_token_from=None))
        async with at(rr) as desk:
            with pytest.raises(EnrollmentRefused) as caught:
                await desk.challenge(asked(claim()), SOURCE)
            assert caught.value.reason == "join-challenge-not-offered"

    async def test_an_answer_that_nobody_asked_for_is_refused(self, rr: Reflector) -> None:
        rr.methods = keyed()
        made = stamped(claim())
        async with at(rr) as desk:
            assert await refused(desk, made, await proven(made, "unasked")) == "join-challenge-not-offered"

    async def test_used_ones_are_forgotten_when_they_would_not_hold_anyway(self) -> None:
        clock = FakeClock()
        challenges = Challenges(clock)
        for _ in range(10):
            challenges.spend(challenges.issue(("p", "a")).text, ("p", "a"), "a")
        assert len(challenges._used) == 10
        await clock.advance(LIFE_SECONDS + 1)
        challenges.spend(challenges.issue(("p", "a")).text, ("p", "a"), "a")
        assert len(challenges._used) == len(challenges._ends) == 1

    def test_their_number_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("routerd.admission.proof.challenges.MOST_USED", 3)
        assert MOST_USED > 3
        challenges = Challenges(FakeClock())
        for _ in range(3):
            challenges.spend(challenges.issue(("a",)).text, ("a",), "a")
        with pytest.raises(EnrollmentRefused, match="too many challenges"):
            challenges.spend(challenges.issue(("a",)).text, ("a",), "a")

    def test_two_subjects_with_the_same_letters_are_two(self) -> None:
        challenges = Challenges(FakeClock())
        text = challenges.issue(("ab", "c")).text
        with pytest.raises(EnrollmentRefused):
            challenges.spend(text, ("a", "bc"), "a")
        challenges.spend(text, ("ab", "c"), "a")


class TestFailures:
    def odd(self, rr: Reflector, *, deadline: float = 5.0) -> Odd:
        provider = Odd()
        described = JoinMethod(kind="keys", create=lambda *_: provider, binds_claim=True)
        rr.methods = methods(provider, described, log=rr.log, deadline=deadline)
        return provider

    @pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), RuntimeError("no")])
    async def test_a_method_that_raises_costs_one_claim(self, rr: Reflector, error: BaseException) -> None:
        provider = self.odd(rr)
        provider.errors["leaf-a"] = error
        one, two = stamped(claim()), stamped(claim("leaf-b", 32))
        async with at(rr) as desk:
            with pytest.raises(
                JoinMethodFailed, match=r"join method keys \(plugin a_plugin\): verify failed"
            ):
                await join(desk, one, await proven(one))
            await join(desk, two, await proven(two))
            assert await phases(desk) == {"leaf-b": ["Approved"]}
            provider.errors.clear()
            await join(desk, one, await proven(one))
            assert await phases(desk) == {"leaf-a": ["Approved"], "leaf-b": ["Approved"]}

    async def test_a_claim_is_judged_while_another_one_hangs(self, rr: Reflector) -> None:
        provider = self.odd(rr, deadline=0.5)
        provider.hangs.add("leaf-a")
        one, two = stamped(claim()), stamped(claim("leaf-b", 32))
        async with at(rr) as desk:
            hanging = asyncio.ensure_future(join(desk, one, await proven(one)))
            await provider.begun.wait()
            await join(desk, two, await proven(two))
            assert not hanging.done()
            with pytest.raises(JoinMethodFailed, match=r"no answer within 0\.5 s"):
                await hanging
            assert await phases(desk) == {"leaf-b": ["Approved"]}

    async def test_the_method_sees_everything_that_it_needs(self, rr: Reflector) -> None:
        provider = self.odd(rr)
        made = stamped(claim())
        proof = await proven(made)
        async with at(rr) as desk:
            await join(desk, made, proof)
        (seen,) = provider.seen
        assert (seen.claim, seen.proof, seen.source) == (made, proof.proof, IPv4Address("198.51.100.31"))
        assert (seen.secrets, seen.challenge) == ((), "")
        assert seen.proof != Proof()
