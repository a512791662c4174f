"""A leaf proves itself by the join method of its client: salted, challenged, exchanged, failing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web
from tests.unit.admission.enrollment_world import (
    Leaf,
    Odd,
    QuickClock,
    Reflector,
    claim,
    intent,
    methods,
    policy,
    serving,
)

from routerd.leaf.enroller import Enroller
from routerd.plugins.join_methods import JoinMethods
from routerd.spi import JoinMethod, Proof, Signing
from routerd.store import open_store
from routerd.testing.fakes.enrollment_keys import (
    FakeKey,
    FakeKeyEnrollment,
    FakeKeys,
    key_enrollment_provider,
    public_half,
)

CLIENT, POLICY = "SAMEnrollmentClient/c", "SAMEnrollmentPolicy/p"


@attrs.define
class Counting(FakeKeyEnrollment):
    """The fake with keys, and how often it was asked."""

    signed: list[Signing] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        super().__init__("keys")

    async def sign(self, signing: Signing) -> Proof:
        self.signed.append(signing)
        return await super().sign(signing)


@attrs.define
class Scene:
    """A reflector whose policy has the key of leaf-a, and that leaf."""

    rr: Reflector
    leaf: Leaf
    provider: Counting
    policy: FakeKeys

    def use(self, *, challenges: bool, seed: str = "one", **more: Any) -> None:
        described = attrs.evolve(key_enrollment_provider(challenges=challenges), **more)
        self.leaf.methods = methods(self.provider, described, options={CLIENT: FakeKey(seed=seed)})
        self.rr.methods = methods(FakeKeyEnrollment("keys"), described, options={POLICY: self.policy})

    def exchange(self, seed: str) -> None:
        """Give the leaf another key."""
        self.leaf.methods.use({CLIENT: FakeKey(seed=seed)})

    def enroller(self, *endpoints: str, **more: Any) -> Enroller:
        return self.leaf.enroller(*endpoints, signs=False, join_method="keys", **more)


@pytest.fixture(params=[False, True], ids=["plain", "challenged"])
def scene(request: pytest.FixtureRequest, rr: Reflector, leaf: Leaf) -> Scene:
    rr.intent = intent(policy(join_method="keys", join_token_from=None))
    keys = FakeKeys(keys={"leaf-a": public_half("one")})
    made = Scene(rr, leaf, Counting(), keys)
    made.use(challenges=request.param)
    return made


async def test_it_joins_and_shows_no_proof_in_its_claim(scene: Scene) -> None:
    async with scene.rr.up() as store:
        enroller = scene.enroller(scene.rr.url)
        await enroller.step()
        assert enroller.status.phase == "Ready", enroller.status.message
        (admitted,) = store.admitted()
    assert admitted.claim == enroller.claim == scene.leaf.claims[-1]
    assert admitted.claim.join_hmac == ""
    assert admitted.claim.join_nonce
    assert admitted.claim.join_timestamp
    assert admitted.method == "keys"
    assert enroller.status.claim_digest == admitted.digest


async def test_it_does_not_renew_at_every_look_although_each_proof_is_another(
    scene: Scene, clock: QuickClock
) -> None:
    async with scene.rr.up() as store:
        enroller = scene.enroller(scene.rr.url)
        for _ in range(5):
            await enroller.step()
            await clock.advance(61)
        assert len(scene.leaf.claims) == 1
        assert len(scene.provider.signed) == 1
        assert len(store.admitted()) == 1
        decisions = [each.decision for each in await scene.rr.open.audit(limit=10)]
    assert decisions == ["admitted"]


async def test_a_reflector_that_forgot_it_gets_the_same_claim_with_a_new_proof(
    scene: Scene, clock: QuickClock, tmp_path: Path
) -> None:
    async with scene.rr.up():
        enroller = scene.enroller(scene.rr.url)
        await enroller.step()
    scene.rr.path = tmp_path / "empty.db"
    async with scene.rr.up() as store:
        await clock.advance(61)
        await enroller.step()
        assert [each.claim for each in store.admitted()] == [enroller.claim]
    assert len(scene.leaf.claims) == 1
    assert len(scene.provider.signed) == 2


async def test_each_reflector_gets_a_proof_of_its_own(
    scene: Scene, clock: QuickClock, tmp_path: Path
) -> None:
    other = attrs.evolve(scene.rr, path=tmp_path / "other.db")
    async with scene.rr.up(), other.up():
        enroller = scene.enroller(scene.rr.url, other.url)
        await enroller.step()
        assert enroller.status.phase == "Ready", enroller.status.message
    challenges = {each.challenge for each in scene.provider.signed}
    described = scene.leaf.methods.described("keys")
    assert len(challenges) == (2 if described.challenges else 1)
    assert len(scene.provider.signed) == 2
    assert len({each.claim for each in scene.provider.signed}) == 1


async def test_another_key_gives_the_claim_another_nonce(scene: Scene, clock: QuickClock) -> None:
    async with scene.rr.up() as store:
        enroller = scene.enroller(scene.rr.url)
        await enroller.step()
        first = enroller.claim
        scene.exchange("two")
        scene.rr.methods.use({POLICY: FakeKeys(keys={"leaf-a": public_half("two")})})
        await clock.advance(61)
        await enroller.step()
        assert enroller.claim != first
        assert [each.claim for each in store.admitted()] == [enroller.claim]
        assert "claim.signer.changed" in scene.leaf.log.events("info")


async def test_a_restarted_leaf_goes_on_with_its_claim_and_notices_another_key(
    scene: Scene, clock: QuickClock
) -> None:
    async with scene.rr.up():
        enroller = scene.enroller(scene.rr.url)
        await enroller.step()
        first = enroller.claim
        again = scene.enroller(scene.rr.url)
        await again._recall()
        await again.step()
        assert again.claim == first
        scene.exchange("two")
        third = scene.enroller(scene.rr.url)
        await third._recall()
        await third.step()
        assert third.claim != first
        assert third.status.endpoints[0].reason == "fake-proof-wrong"


async def test_a_stored_claim_of_another_method_is_signed_again(scene: Scene) -> None:
    async with scene.rr.up():
        enroller = scene.enroller(scene.rr.url)
        await enroller.step()
        first = enroller.claim
        assert first is not None
        scene.leaf.store.keep_own_claim(first, "token 1234")
        again = scene.enroller(scene.rr.url)
        await again._recall()
        await again.step()
        assert again.claim != first


async def test_a_renewal_has_a_new_nonce(scene: Scene, clock: QuickClock) -> None:
    async with scene.rr.up() as store:
        enroller = scene.enroller(scene.rr.url)
        await enroller.step()
        first = enroller.claim
        await clock.advance(timedelta(hours=17).total_seconds())
        await enroller.step()
        assert enroller.claim != first
        assert [each.claim for each in store.admitted()] == [enroller.claim]
        decisions = [each.decision for each in await scene.rr.open.audit(limit=10)]
    assert decisions == ["admitted", "renewed"]


async def test_a_refusal_shows_the_code_of_the_plugin(scene: Scene) -> None:
    scene.exchange("of a stranger")
    async with scene.rr.up() as store:
        enroller = scene.enroller(scene.rr.url)
        await enroller.step()
        assert store.admitted() == ()
    (endpoint,) = enroller.status.endpoints
    assert endpoint.reason == "fake-proof-wrong"
    assert "the proof does not match the claim" in endpoint.error


@pytest.mark.parametrize("again", [False, True])
async def test_a_code_of_the_plugin_may_ask_for_a_new_nonce(
    scene: Scene, clock: QuickClock, *, again: bool
) -> None:
    described = scene.leaf.methods.described("keys")
    codes = frozenset({"fake-proof-wrong"} if again else ())
    scene.use(challenges=described.challenges, seed="of a stranger", sign_again=codes)
    async with scene.rr.up():
        enroller = scene.enroller(scene.rr.url)
        for _ in range(3):
            await enroller.step()
            await clock.advance(61)
    assert len(scene.leaf.claims) == (3 if again else 1)


async def test_a_policy_of_another_method_is_named(scene: Scene) -> None:
    scene.rr.intent = intent(policy())
    scene.rr.methods = methods()
    async with scene.rr.up():
        enroller = scene.enroller(scene.rr.url)
        await enroller.step()
    (endpoint,) = enroller.status.endpoints
    challenged = scene.leaf.methods.described("keys").challenges
    assert endpoint.reason == ("join-challenge-not-offered" if challenged else "join-method-mismatch")
    assert "token" in endpoint.error


async def test_a_client_without_a_proof_joins_where_none_is_asked_for(rr: Reflector, leaf: Leaf) -> None:
    rr.intent = intent(policy(join_method="none", join_token_from=None))
    leaf.methods = JoinMethods({}, log=leaf.log)
    async with rr.up() as store:
        enroller = leaf.enroller(rr.url, signs=False, join_method="none")
        await enroller.step()
        assert enroller.status.phase == "Ready"
        assert [each.claim for each in store.admitted()] == [claim()]
    assert leaf.store.own_claims() == {}


async def test_the_method_of_the_dialect_works_under_every_name(rr: Reflector, leaf: Leaf) -> None:
    """The core knows `token` as the default of a file, and not as a plugin."""
    renamed = attrs.evolve(methods().described("token"), kind="passphrase")
    rr.intent = intent(policy(join_method="passphrase"))
    rr.methods, leaf.methods = methods(described=renamed), methods(described=renamed)
    async with rr.up() as store:
        enroller = leaf.enroller(rr.url, join_method="passphrase")
        await enroller.step()
        assert enroller.status.phase == "Ready", enroller.status.message
        (admitted,) = store.admitted()
    assert admitted.claim.join_hmac
    assert admitted.method == "passphrase"


async def test_a_reflector_of_an_earlier_program_is_named_with_the_remedy(scene: Scene) -> None:
    scene.use(challenges=True)
    app = web.Application()
    async with serving(app) as url:
        enroller = scene.enroller(url)
        await enroller.step()
    (endpoint,) = enroller.status.endpoints
    assert "use joinMethod: token towards it" in endpoint.error
    assert endpoint.reason == "refused"


class TestFailures:
    @pytest.fixture
    def odd(self, rr: Reflector, leaf: Leaf) -> Odd:
        provider = Odd()
        described = JoinMethod(kind="odd", create=lambda *_: provider, binds_claim=True)
        rr.intent = intent(policy(join_method="odd", join_token_from=None))
        rr.methods = methods(provider, described, log=rr.log, deadline=0.05)
        leaf.methods = methods(Odd(), described)
        return provider

    @pytest.mark.parametrize("error", [SystemExit(3), RuntimeError("x")])
    async def test_the_leaf_gets_a_code_and_a_sentence_when_the_reflectors_method_fails(
        self, rr: Reflector, leaf: Leaf, odd: Odd, clock: QuickClock, error: BaseException
    ) -> None:
        odd.errors["leaf-a"] = error
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url, signs=False, join_method="odd")
            await enroller.step()
            (endpoint,) = enroller.status.endpoints
            assert endpoint.reason == "join-method-failed"
            assert (
                "not decided: the join method of the policy failed on the route reflector" in endpoint.error
            )
            assert rr.methods.troubles() == [
                f"join method odd (plugin a_plugin): verify failed: {type(error).__name__}: {error}"
            ]
            assert "join.method.failed" in rr.log.events("error")
            odd.errors.clear()
            await clock.advance(61)
            await enroller.step()
            assert enroller.status.phase == "Ready"
            assert len(store.admitted()) == 1
            assert rr.methods.troubles() == []

    async def test_also_when_it_hangs(self, rr: Reflector, leaf: Leaf, odd: Odd) -> None:
        odd.hangs.add("leaf-a")
        async with rr.up():
            enroller = leaf.enroller(rr.url, signs=False, join_method="odd")
            await enroller.step()
        (endpoint,) = enroller.status.endpoints
        assert endpoint.reason == "join-method-failed"
        assert "no answer within 0.05 s" in rr.log.text()

    async def test_the_leafs_own_method_is_named_in_its_status(
        self, rr: Reflector, leaf: Leaf, odd: Odd, clock: QuickClock
    ) -> None:
        mine = Odd(errors={"leaf-a": SystemExit("no TPM")})
        described = JoinMethod(kind="odd", create=lambda *_: mine, binds_claim=True)
        leaf.methods = methods(mine, described, log=leaf.log)
        async with rr.up() as store:
            enroller = leaf.enroller(rr.url, signs=False, join_method="odd")
            await enroller.step()
            status = enroller.status
            assert (status.phase, status.reason) == ("Backoff", "join-method-failed")
            assert status.message == "join method odd (plugin a_plugin): signer failed: SystemExit: no TPM"
            mine.errors.clear()
            await clock.advance(61)
            await enroller.step()
            assert enroller.status.phase == "Ready"
            assert len(store.admitted()) == 1


async def test_a_leaf_that_keeps_its_state_keeps_the_name_of_its_key(
    tmp_path: Path, clock: QuickClock
) -> None:
    store = open_store(tmp_path / "x.db", clock=clock)
    store.keep_own_claim(claim(), "keys 1234")
    store.close()
    again = open_store(tmp_path / "x.db", clock=clock)
    assert again.own_signers() == {"leaf-a": "keys 1234"}
    assert again.own_claims() == {"leaf-a": claim()}
    again.close()
