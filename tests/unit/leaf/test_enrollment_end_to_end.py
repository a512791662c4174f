"""Leaf and route reflector over loopback: what happens to a claim from its signing to its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import aiohttp
import attrs
import pytest
from aiohttp import web
from tests.unit.admission.enrollment_world import (
    NOW,
    Leaf,
    QuickClock,
    Reflector,
    claim,
    intent,
    policy,
    serving,
    signed,
)

from routerd.control.ports import PREFIX
from routerd.errors import ConfigError, EnrollmentRefused, StoreError
from routerd.leaf.enroller import Enroller
from routerd.model.claim import Claim
from routerd.model.specs import SecretSource
from routerd.model.specs.claim_codec import claim_to_document
from routerd.store.records import Write


def errors(enroller: Enroller) -> str:
    return " | ".join(endpoint.error for endpoint in enroller.status.endpoints)


async def run_until(enroller: Enroller, condition: Callable[[], bool]) -> None:
    task = asyncio.create_task(enroller.run())
    async with asyncio.timeout(20):
        while not condition() and not task.done():  # noqa: ASYNC110 - the enroller knows of no test
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert condition()


class TestLeaf:
    async def test_it_enrolls_and_keeps_what_it_fetched(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url)
            assert enroller.status.phase == "Pending"
            await enroller.step()
            (admitted,) = store.admitted()
        assert admitted.claim == enroller.claim == leaf.claims[-1]
        assert admitted.expires_at == NOW + timedelta(hours=24)
        assert rr.changes == 1
        status = enroller.status
        assert (status.phase, status.reason, status.reflectors) == ("Ready", "rrset-current", 1)
        (reflector,) = leaf.store.topologies()["rrs"].reflectors
        assert (reflector.node, str(reflector.transport_address)) == ("rr-a", "10.20.0.1")
        assert leaf.store.topologies()["rrs"].claim_digest == status.claim_digest
        assert leaf.changes > 0

    async def test_a_static_set_of_the_seeds_dialect_is_served_too(self, rr: Reflector, leaf: Leaf) -> None:
        rr.intent = intent(policy(rr_set_ref="SAMRRSet/static", rr_node_set_ref=None))
        async with rr.up():
            enroller = leaf.enroller(rr.url, of=claim(rr_set_ref="SAMRRSet/static"))
            await enroller.step()
        assert [each.node for each in leaf.store.topologies()["static"].reflectors] == ["rr-s"]

    async def test_it_enrolls_at_a_server_of_the_seeds_dialect(self, leaf: Leaf) -> None:
        async def submit(request: web.Request) -> web.Response:
            assert (await request.json())["claim"]["metadata"]["name"] == "leaf-a"
            return web.json_response(
                {
                    "kind": "SAMEnrollmentClaimSubmitResult",
                    "accepted": True,
                    "observedAt": "2026-06-28T12:00:00.123456789Z",
                    "expiresAt": "2026-06-28T13:00:00Z",
                }
            )

        async def rr_set(request: web.Request) -> web.Response:
            assert dict(request.query) == {"claim": "SAMEnrollmentClaim/leaf-a"}
            member = {"nodeRef": "old", "endpoint": "203.0.113.1", "tunnelAddress": "10.255.0.1/32"}
            document = {"kind": "SAMRRSet", "metadata": {"name": "rrs"}, "spec": {"members": [member]}}
            return web.json_response({"kind": "SAMRRSetGetResult", "rrSet": document})

        app = web.Application()
        app.router.add_post(f"{PREFIX}/sam-enrollment-claims", submit)
        app.router.add_get(f"{PREFIX}/sam-rrsets/rrs", rr_set)
        async with serving(app) as url:
            enroller = leaf.enroller(url)
            await enroller.step()
        assert enroller.status.phase == "Ready"
        assert [each.node for each in leaf.store.topologies()["rrs"].reflectors] == ["old"]

    async def test_a_leaf_of_the_seeds_dialect_is_served(self, rr: Reflector, leaf: Leaf) -> None:
        async with rr.up(), aiohttp.ClientSession() as session:
            await leaf.enroller(rr.url).step()
            async with session.get(f"{rr.url}{PREFIX}/sam-rrsets/rrs?claim=leaf-a") as response:
                answer = await response.json()
        assert answer["kind"] == "SAMRRSetGetResult"
        assert answer["metadata"] == {"name": "rrs"}
        assert answer["rrSet"]["spec"]["nodes"][0]["nodeRef"] == "rr-a"

    async def test_doing_it_again_changes_nothing(self, rr: Reflector, leaf: Leaf) -> None:
        async with rr.up():
            enroller = leaf.enroller(rr.url)
            await enroller.step()
            before = (rr.changes, leaf.changes, len(leaf.claims))
            enroller.retry_now()
            await enroller.step()
            assert (rr.changes, leaf.changes, len(leaf.claims)) == before

    async def test_it_comes_up_from_what_it_fetched_when_nobody_answers(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        async with rr.up():
            await leaf.enroller(rr.url).step()
        again = leaf.enroller(rr.url)
        await run_until(again, lambda: bool(again.status.endpoints[0].failures))
        assert again.status.phase == "Degraded"
        assert again.status.reflectors == 1
        assert rr.url in errors(again)
        assert again.claim == leaf.claims[0]

    async def test_a_reflector_that_is_down_at_the_start_gets_the_claim_later(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        async with rr.up():
            pass
        enroller = leaf.enroller(rr.url)
        await enroller.step()
        status = enroller.status
        assert (status.phase, status.reason) == ("Backoff", "unreachable")
        assert status.next_attempt is not None
        assert status.next_attempt > clock.now()
        async with rr.up() as store:
            await enroller.step()
            assert store.admitted() == ()
            await clock.advance(3)
            await enroller.step()
            assert len(store.admitted()) == 1
        assert enroller.status.phase == "Ready"

    async def test_each_reflector_is_followed_on_its_own(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock, tmp_path: Path
    ) -> None:
        other = Reflector(tmp_path / "other.db", clock)
        async with other.up():
            pass
        async with rr.up() as store:
            enroller = leaf.enroller(other.url, rr.url)
            await enroller.step()
            assert len(store.admitted()) == 1
            assert enroller.status.phase == "Degraded"
            assert other.url in enroller.status.message
            async with other.up() as others:
                await clock.advance(3)
                await enroller.step()
                assert others.admitted()[0].claim == store.admitted()[0].claim
            assert enroller.status.phase == "Ready"

    async def test_a_reflector_that_lost_its_state_gets_the_claim_again(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock, tmp_path: Path
    ) -> None:
        async with rr.up():
            enroller = leaf.enroller(rr.url)
            await enroller.step()
        rr.path = tmp_path / "rebuilt.db"
        async with rr.up() as store:
            await clock.advance(61)
            await enroller.step()
            assert [each.claim for each in store.admitted()] == [enroller.claim]
        assert enroller.status.phase == "Ready"
        assert "claim.forgotten" in leaf.log.events("warning")

    async def test_it_renews_its_claim_before_the_end(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url)
            await enroller.step()
            first = enroller.claim
            await clock.advance(timedelta(hours=23, minutes=51).total_seconds())
            await enroller.step()
            (admitted,) = store.admitted()
            assert admitted.active(clock.now() + timedelta(hours=23))
        assert first is not None
        assert enroller.claim is not None
        assert enroller.claim.join_nonce != first.join_nonce
        assert enroller.claim.join_timestamp > first.join_timestamp
        assert leaf.store.own_claims()["leaf-a"] == enroller.claim

    async def test_a_renewal_is_due_by_what_is_left_on_the_reflectors_clock(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        rr.clock = QuickClock(NOW + timedelta(hours=5))
        async with rr.up():
            enroller = leaf.enroller(rr.url)
            await enroller.step()
        endpoint = enroller._endpoints[rr.url]
        assert endpoint.renew_at is not None
        left = endpoint.renew_at - clock.monotonic()
        assert left == pytest.approx(timedelta(hours=19).total_seconds() * 2 / 3, abs=5)

    async def test_a_changed_claim_is_signed_and_submitted_anew(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        async with rr.up() as store:
            await leaf.enroller(rr.url).step()
            await clock.advance(1)
            again = leaf.enroller(rr.url, of=claim(owned_addresses=("10.77.60.99/32",)))
            await run_until(again, lambda: again.status.phase == "Ready")
            assert store.admitted()[0].claim.owned_addresses == ("10.77.60.99/32",)

    async def test_a_changed_token_is_signed_with(self, rr: Reflector, leaf: Leaf, clock: QuickClock) -> None:
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url)
            await enroller.step()
            first = enroller.claim
            rr.secret = leaf.secret = "rotated"
            await clock.advance(1)
            await enroller.step()
            assert store.admitted()[0].claim == enroller.claim != first

    async def test_a_claim_signed_elsewhere_is_submitted_as_it_is(self, rr: Reflector, leaf: Leaf) -> None:
        made = await signed(claim())
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url, of=made, signs=False)
            await enroller.step()
            assert [each.claim for each in store.admitted()] == [made]
        assert leaf.store.own_claims() == {}

    async def test_what_it_signed_is_on_the_disk_before_it_is_used(self, rr: Reflector, leaf: Leaf) -> None:
        async with rr.up():
            pass
        await leaf.enroller(rr.url, nonce=lambda: "first").step()
        async with rr.up() as store:
            again = leaf.enroller(rr.url, nonce=lambda: "second")
            await run_until(again, lambda: again.status.phase == "Ready")
            assert store.admitted()[0].claim.join_nonce == "first"

    async def test_without_a_disk_nothing_is_submitted(
        self, rr: Reflector, leaf: Leaf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: Claim, __: str) -> None:
            raise StoreError("state file x: the disk is full")

        monkeypatch.setattr(leaf.store, "keep_own_claim", full)
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url)
            await enroller.step()
            assert store.admitted() == ()
        assert enroller.status.reason == "state-unwritable"
        assert "disk is full" in enroller.status.message

    async def test_hurrying_forgets_the_pause(self, rr: Reflector, leaf: Leaf) -> None:
        async with rr.up():
            pass
        enroller = leaf.enroller(rr.url)
        await enroller.step()
        async with rr.up() as store:
            enroller.retry_now()
            await enroller.step()
            assert len(store.admitted()) == 1

    async def test_pauses_grow_to_their_limit(self, rr: Reflector, leaf: Leaf, clock: QuickClock) -> None:
        async with rr.up():
            pass
        enroller = leaf.enroller(rr.url)
        pauses = []
        for _ in range(8):
            await enroller.step()
            endpoint = enroller._endpoints[rr.url]
            pauses.append(endpoint.ask_at - clock.monotonic())
            await clock.advance(pauses[-1])
        assert pauses == pytest.approx([2, 4, 8, 16, 32, 60, 60, 60])

    async def test_an_open_policy_needs_no_proof(self, rr: Reflector, leaf: Leaf) -> None:
        rr.intent = intent(policy(join_token_from=None, join_method="none"))
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url, signs=False)
            await enroller.step()
            assert len(store.admitted()) == 1


class TestRefusals:
    async def test_a_wrong_token_is_refused_in_words(self, rr: Reflector, leaf: Leaf) -> None:
        leaf.secret = "wrong"
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url)
            await enroller.step()
            assert store.admitted() == ()
        assert enroller.status.phase == "Backoff"
        assert enroller.status.reason == "join-hmac-mismatch"
        assert "wrong proof" in errors(enroller)
        for log in (rr.log, leaf.log):
            assert "wrong proof" in log.text()
        assert rr.changes == 0

    async def test_a_claim_for_another_leafs_address_names_the_holder(
        self, rr: Reflector, leaf: Leaf
    ) -> None:
        async with rr.up() as store:
            await leaf.enroller(rr.url).step()
            thief = claim("leaf-b", 32, owned_addresses=("10.77.60.31/32",))
            enroller = leaf.enroller(rr.url, of=thief)
            await enroller.step()
            assert [each.claim.name for each in store.admitted()] == ["leaf-a"]
        assert enroller.status.reason == "owned-address-taken"
        assert "10.77.60.31 is held by leaf leaf-a" in errors(enroller)

    async def test_a_token_that_cannot_be_read_is_the_reflectors_trouble(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        path = rr.path.parent / "no-such-token"

        def unreadable(_: SecretSource) -> str:
            raise ConfigError.single(str(path), "cannot be read")

        async with rr.up() as store:
            desk = rr.desk(store, secret=unreadable)
            with pytest.raises(EnrollmentRefused) as refused:
                await desk.submit(claim_to_document(await signed(claim())), None)
        assert refused.value.reason == "join-token-unreadable"
        assert str(path) not in str(refused.value)
        assert str(path) in rr.log.text()

    @pytest.mark.parametrize("restarted", [False, True])
    async def test_a_clock_that_was_ahead_once_locks_no_leaf_out(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock, restarted: bool
    ) -> None:
        rr.clock = QuickClock(clock.now())
        leaf.clock = QuickClock(clock.now() + timedelta(days=400))
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url)
            await enroller.step()
            assert enroller.status.reason == "join-timestamp-in-future"
            leaf.clock.jump(-timedelta(days=400))
            if restarted:
                enroller = leaf.enroller(rr.url)
            await run_until(enroller, lambda: enroller.status.phase == "Ready")
            assert len(store.admitted()) == 1

    async def test_an_expired_claim_is_refused_and_signed_anew_by_who_can(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        async with rr.up():
            pass
        enroller = leaf.enroller(rr.url)
        await enroller.step()
        clock.jump(timedelta(hours=25))
        async with rr.up() as store:
            await clock.advance(3)
            await enroller.step()
            assert enroller.status.reason == "claim-expired"
            assert store.admitted() == ()
            await clock.advance(61)
            await enroller.step()
            assert len(store.admitted()) == 1

    async def test_a_revoked_claim_never_returns(self, rr: Reflector, leaf: Leaf, clock: QuickClock) -> None:
        rr.bearer = "bearer"
        made = await signed(claim())
        async with rr.up() as store:
            desk = rr.open
            await desk.submit(claim_to_document(made), None)
            headers = {"Authorization": "Bearer bearer"}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(
                    f"{rr.url}{PREFIX}/sam-enrollment-claims/leaf-a/revoke",
                    json={"name": "leaf-a", "reason": "stolen"},
                ) as response,
            ):
                answer = await response.json()
            assert answer["kind"] == "SAMEnrollmentClaimRevokeResult"
            assert (answer["revoked"], answer["reason"]) == (True, "stolen")
            assert not store.admitted()[0].active(clock.now())
        async with rr.up() as store:
            desk = rr.open
            with pytest.raises(EnrollmentRefused, match="stolen") as refused:
                await desk.submit(claim_to_document(made), None)
            assert refused.value.reason == "claim-revoked"
            with pytest.raises(EnrollmentRefused) as unserved:
                await desk.topology("rrs", "SAMEnrollmentClaim/leaf-a", digest="", source=None)
            assert unserved.value.reason == "claim-not-accepted"

    async def test_a_revoked_leaf_does_not_sign_itself_back_in(
        self, rr: Reflector, leaf: Leaf, clock: QuickClock
    ) -> None:
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url)
            await enroller.step()
            await rr.open.revoke("leaf-a", "stolen", None)
            for _ in range(4):
                await clock.advance(61)
                await enroller.step()
            assert len(leaf.claims) == 1
            assert [each.claim.revoked for each in store.admitted()] == [True]
        assert enroller.status.reason == "claim-revoked"
        assert enroller.status.phase == "Degraded"

    async def test_a_replay_under_another_name_is_refused(self, rr: Reflector) -> None:
        made = await signed(claim())
        async with rr.up() as store:
            desk = rr.open
            await desk.submit(claim_to_document(made), None)
            with pytest.raises(EnrollmentRefused) as refused:
                await desk.submit(claim_to_document(attrs.evolve(made, name="other")), None)
            assert refused.value.reason == "join-nonce-used"
            assert len(store.admitted()) == 1

    async def test_the_true_end_is_in_the_answer(self, rr: Reflector) -> None:
        made = await signed(claim(expires_at="2026-06-28T18:00:00Z"))
        async with rr.up():
            done = await rr.open.submit(claim_to_document(made), None)
        assert done.expires_at == NOW + timedelta(hours=6)

    async def test_someone_elses_set_is_not_served(self, rr: Reflector) -> None:
        async with rr.up():
            desk = rr.open
            await desk.submit(claim_to_document(await signed(claim())), None)
            for rr_set, ref, reason in (
                ("static", "leaf-a", "rr-set-mismatch"),
                ("rrs", "", "claim-required"),
                ("rrs", "SAMRRSet/leaf-a", "claim-required"),
                ("rrs", "leaf-b", "claim-not-accepted"),
            ):
                with pytest.raises(EnrollmentRefused) as refused:
                    await desk.topology(rr_set, ref, digest="", source=None)
                assert refused.value.reason == reason

    async def test_revoking_what_is_not_there_says_so(self, rr: Reflector) -> None:
        async with rr.up():
            with pytest.raises(EnrollmentRefused) as refused:
                await rr.open.revoke("nobody", "", None)
        assert refused.value.reason == "claim-unknown"


class TestDurability:
    async def test_nothing_is_accepted_that_is_not_on_the_disk(
        self, rr: Reflector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that is full refuses, and what was decided on top of it is taken back."""
        full = True
        async with rr.up() as store:
            commit = store.admission.commit

            def sometimes(writes: Sequence[Write]) -> None:
                if full:
                    raise StoreError("state file x: the disk is full")
                commit(writes)

            monkeypatch.setattr(store.admission, "commit", sometimes)
            desk = rr.desk(store)
            first = claim_to_document(await signed(claim()))
            clash = claim_to_document(await signed(claim("leaf-b", 32, owned_addresses=("10.77.60.31/32",))))
            results = await asyncio.gather(
                desk.submit(first, None), desk.submit(clash, None), return_exceptions=True
            )
            assert isinstance(results[0], StoreError)
            assert desk.admitted() == ()
            assert rr.changes == 0
            full = False
            # The address that was never given away is free.
            await desk.submit(clash, None)
            with pytest.raises(EnrollmentRefused, match="held by leaf leaf-b"):
                await desk.submit(first, None)
            await desk.aclose()
            assert desk.admitted() == store.admitted()
        assert rr.changes == 1

    async def test_the_same_claim_again_is_not_accepted_before_it_is_on_the_disk(
        self, rr: Reflector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that asks twice at the same moment gets no answer from memory."""

        def full(_: Sequence[Write]) -> None:
            raise StoreError("state file x: the disk is full")

        async with rr.up() as store:
            monkeypatch.setattr(store.admission, "commit", full)
            desk = rr.desk(store)
            document = claim_to_document(await signed(claim()))
            results = await asyncio.gather(
                *(desk.submit(document, None) for _ in range(3)), return_exceptions=True
            )
            assert [type(each) for each in results] == [StoreError] * 3
            await desk.aclose()

    async def test_claims_are_judged_one_after_another(self, rr: Reflector) -> None:
        made = [
            await signed(claim(f"leaf-{n}", 40 + n, owned_addresses=("10.77.60.1/32",))) for n in range(8)
        ]
        async with rr.up() as store:
            desk = rr.open
            results = await asyncio.gather(
                *(desk.submit(claim_to_document(each), None) for each in made), return_exceptions=True
            )
            assert len(store.admitted()) == 1
        assert sum(isinstance(result, EnrollmentRefused) for result in results) == 7

    async def test_a_client_that_goes_away_leaves_no_half_decision(
        self, rr: Reflector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()
        async with rr.up() as store:
            commit = store.admission.commit

            def slow(writes: Sequence[Write]) -> None:
                loop.call_soon_threadsafe(began.set)
                assert go_on.wait(10)
                commit(writes)

            monkeypatch.setattr(store.admission, "commit", slow)
            desk = rr.desk(store)
            task = asyncio.create_task(desk.submit(claim_to_document(await signed(claim())), None))
            async with asyncio.timeout(10):
                await began.wait()
            task.cancel()
            await asyncio.wait([task])
            go_on.set()
            await desk.aclose()
            assert len(store.admitted()) == 1
        assert rr.changes == 1

    async def test_an_admitted_claim_survives_a_restart(self, rr: Reflector, leaf: Leaf) -> None:
        async with rr.up():
            enroller = leaf.enroller(rr.url)
            await enroller.step()
        async with rr.up() as store:
            assert [each.claim for each in store.admitted()] == [enroller.claim]
            enroller.retry_now()
            await enroller.step()
        assert enroller.status.phase == "Ready"
        assert rr.changes == 1


async def test_no_secret_is_in_any_log(rr: Reflector, leaf: Leaf) -> None:
    rr.secret = leaf.secret = "a-very-secret-token"
    async with rr.up():
        enroller = leaf.enroller(rr.url)
        await enroller.step()
    assert enroller.status.phase == "Ready"
    assert "a-very-secret" not in rr.log.text() + leaf.log.text() + repr(enroller.status)
    assert enroller.claim is not None
    assert enroller.claim.join_hmac not in rr.log.text() + leaf.log.text()
