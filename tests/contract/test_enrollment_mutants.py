"""The suite of join methods is sharp: for each rule, a method that breaks it is caught by that rule."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from routerd.errors import EnrollmentRefused, PermanentError, ProofMismatch, TransientError
from routerd.model.claim import Claim, ClaimWireGuard
from routerd.model.names import PublicKey
from routerd.model.specs.claim_text import bound_text
from routerd.spi import Capability, JoinEnd, JoinMethod, JoinTrial, Proof, Signing, Submission
from routerd.testing.contracts import EnrollmentContract
from routerd.testing.contracts.enrollment import CHANGES, CHANGES_BEYOND_SAM, Ends
from routerd.testing.fakes.enrollment import FakeEnrollment, enrollment_provider
from routerd.testing.fakes.enrollment_keys import (
    FakeKey,
    FakeKeyEnrollment,
    FakeKeys,
    key_enrollment_provider,
    public_half,
)

CLAIM = Claim(
    name="leaf-a",
    policy_ref="SAMEnrollmentPolicy/site",
    leaf_id="leaf-a",
    tunnel_address="10.255.0.2/32",
    join_nonce="3f1c9a52d7e84b60",
    join_timestamp="2026-01-01T00:00:00Z",
    endpoint="198.51.100.2",
    owned_addresses=("10.77.60.11/32",),
    asn=64512,
    wireguard=ClaimWireGuard(public_key=PublicKey("YSBrZXkgb2YgV2lyZUd1YXJkIG9mIDMyIGJ5dGVzISE=")),
)
SECRET = "correct horse battery staple"
KEYS = FakeKeys(keys={"leaf-a": public_half("a"), "leaf-b": public_half("b")})

Rule = Callable[..., Awaitable[None]]


def rules() -> Mapping[str, Any]:
    """Return the rules that are about a join method, by name."""
    suite = EnrollmentContract()
    found = {name: getattr(suite, name) for name in vars(EnrollmentContract) if name.startswith("test_")}
    assert len(found) > 10
    return found


async def broken(method: JoinMethod, provider: object, place: Path) -> set[str]:
    """Return the names of the rules that a join method breaks."""
    shared = method.shared_secret
    ends = Ends(
        secret=SECRET if shared else None,
        policy=None if shared else KEYS,
        client=None if shared else FakeKey(seed="a"),
        method=method,
    )
    stranger = (
        attrs.evolve(ends, secret=SECRET + "x") if shared else attrs.evolve(ends, client=FakeKey(seed="b"))
    )
    given = {
        "provider": method,
        "started": provider,
        "claim": CLAIM,
        "ends": ends,
        "stranger": stranger,
        "secret": SECRET,
        "private_texts": ("horse",),
        "tmp_path": place,
    }
    found = set()
    for name, rule in rules().items():
        names = inspect.signature(rule).parameters
        fields = [*CHANGES, *CHANGES_BEYOND_SAM] if "field" in names else [""]
        for field in fields:
            values = {**given, "field": field}
            try:
                done = rule(**{each: values[each] for each in names})
                if inspect.isawaitable(done):
                    await done
            except asyncio.CancelledError:
                raise
            except BaseException:  # noqa: BLE001 - pytest's failures are not exceptions to others
                found.add(name.removeprefix("test_"))
    return found


class _Open(FakeEnrollment):
    async def verify(self, submission: Submission) -> None:
        return


class _Truthy(FakeEnrollment):
    async def verify(self, submission: Submission) -> None:
        await super().verify(submission)
        return True  # type: ignore[return-value]  # the mistake


class _Raising(FakeEnrollment):
    async def verify(self, submission: Submission) -> None:
        submission.proof.join_hmac.encode("ascii")
        await super().verify(submission)


class _FirstSecret(FakeEnrollment):
    async def verify(self, submission: Submission) -> None:
        await super().verify(attrs.evolve(submission, secrets=submission.secrets[:1]))


class _PlainRefusal(FakeEnrollment):
    async def verify(self, submission: Submission) -> None:
        try:
            await super().verify(submission)
        except ProofMismatch as error:
            raise EnrollmentRefused(error.reason, str(error)) from error


class _BadCode(FakeEnrollment):
    async def verify(self, submission: Submission) -> None:
        try:
            await super().verify(submission)
        except EnrollmentRefused as error:
            raise EnrollmentRefused("Bad Proof", str(error)) from error


class _Telling(FakeEnrollment):
    async def verify(self, submission: Submission) -> None:
        try:
            await super().verify(submission)
        except ProofMismatch as error:
            raise ProofMismatch(error.reason, f"expected {submission.secrets}") from error


class _SecretSigner(FakeEnrollment):
    async def signer(self, signing: Signing) -> str:
        await super().signer(signing)
        return f"token {signing.secret}"


class _EmptySecret(FakeEnrollment):
    async def sign(self, signing: Signing) -> Proof:
        return await super().sign(attrs.evolve(signing, secret=signing.secret or "default"))


class _SaltedDialect(FakeEnrollment):
    """Breaks only the determinism: it accepts what it signs."""

    def __init__(self) -> None:
        self._made: set[str] = set()

    async def sign(self, signing: Signing) -> Proof:
        proof = await super().sign(signing)
        self._made.add(f"{len(self._made):04x}{proof.join_hmac}")
        return Proof(join_hmac=f"{len(self._made) - 1:04x}{proof.join_hmac}")

    async def verify(self, submission: Submission) -> None:
        bare = Proof(join_hmac=submission.proof.join_hmac[4:])
        await super().verify(attrs.evolve(submission, proof=bare))


class _Stateful(FakeKeyEnrollment):
    """Mixes calls: it signs what it was asked last."""

    _last: Signing | None = None

    async def sign(self, signing: Signing) -> Proof:
        self._last = signing
        await asyncio.sleep(0)
        return await super().sign(self._last)


class _Once(FakeKeyEnrollment):
    def __init__(self) -> None:
        super().__init__("keys")
        self._seen: set[Proof] = set()

    async def verify(self, submission: Submission) -> None:
        await super().verify(submission)
        if submission.proof in self._seen:
            raise EnrollmentRefused("once", "a proof that was checked before")
        self._seen.add(submission.proof)


class _AnyKey(FakeKeyEnrollment):
    async def verify(self, submission: Submission) -> None:
        for key in KEYS.keys.values():
            try:
                options = FakeKeys(keys={submission.claim.leaf_id: key})
                await super().verify(attrs.evolve(submission, options=options))
            except EnrollmentRefused as error:
                refusal = error
            else:
                return
        raise refusal


class _Unbound(FakeKeyEnrollment):
    """Signs some fields only."""

    def _text(self, claim: Claim, challenge: str, salt: str) -> bytes:
        bare = attrs.evolve(claim, owned_addresses=())
        return bound_text(bare, method="keys", challenge=challenge) + salt.encode(errors="replace")


class _NameUnbound(FakeKeyEnrollment):
    def _text(self, claim: Claim, challenge: str, salt: str) -> bytes:
        return super()._text(attrs.evolve(claim, name="", expires_at=""), challenge, salt)


class _ChallengeUnbound(FakeKeyEnrollment):
    def _text(self, claim: Claim, challenge: str, salt: str) -> bytes:
        return super()._text(claim, "", salt)


class _SaltUnbound(FakeKeyEnrollment):
    def _text(self, claim: Claim, challenge: str, salt: str) -> bytes:
        return super()._text(claim, challenge, "")


class _ConstantSigner(FakeKeyEnrollment):
    async def signer(self, signing: Signing) -> str:
        return "key"


class _NonceSigner(FakeKeyEnrollment):
    async def signer(self, signing: Signing) -> str:
        return (await super().signer(signing))[:8] + signing.claim.join_nonce


class _SilentSign(FakeKeyEnrollment):
    async def sign(self, signing: Signing) -> Proof:
        try:
            return await super().sign(signing)
        except PermanentError:
            return Proof.of({"salt": "", "seal": ""})


class _WrongHome(FakeKeyEnrollment):
    async def sign(self, signing: Signing) -> Proof:
        made = await super().sign(signing)
        return Proof(join_hmac="ab", text=made.text)


class _Showing(FakeEnrollment):
    def payload(self, signing: Signing) -> bytes:
        return b"text by " + str(signing.secret).encode() + signing.claim.join_nonce.encode()


def _swapped(leaves: Sequence[str], directory: Path) -> JoinTrial:
    """Give each leaf the key of another."""
    assert KEYED.trial is not None
    made = KEYED.trial(leaves, directory)
    return attrs.evolve(made, clients=dict(zip(leaves, reversed(made.clients.values()), strict=True)))


def _misspelt(leaves: Sequence[str], directory: Path) -> JoinTrial:
    """Return options that the method's own class does not have."""
    assert KEYED.trial is not None
    made = KEYED.trial(leaves, directory)
    return attrs.evolve(made, policy=JoinEnd(options={"key": made.policy.options["keys"]}))


class _Busy(FakeEnrollment):
    """A cancelled call leaves it busy."""

    _busy = False

    async def verify(self, submission: Submission) -> None:
        if self._busy:
            raise TransientError("busy; will retry")
        self._busy = True
        await asyncio.sleep(0)
        self._busy = False
        await super().verify(submission)


class _Reading(FakeEnrollment):
    """Each check reads a file; the mutants below say what follows when that fails."""

    async def verify(self, submission: Submission) -> None:
        try:
            await asyncio.to_thread(Path("/dev/null").read_bytes)
        except OSError as error:
            self.failed(error)
        else:
            await super().verify(submission)

    def failed(self, error: OSError) -> None:
        raise TransientError("the list of keys cannot be read; will retry") from error


class _Shy(_Reading):
    def failed(self, error: OSError) -> None:
        raise EnrollmentRefused("fake-list-unreadable", "the list of keys cannot be read") from error


class _Generous(_Reading):
    def failed(self, error: OSError) -> None:
        return


class _Untranslated(_Reading):
    def failed(self, error: OSError) -> None:
        raise error


DIALECT, KEYED, CHALLENGED = (
    enrollment_provider(),
    key_enrollment_provider(),
    key_enrollment_provider(challenges=True),
)

MUTANTS: tuple[tuple[JoinMethod, object, str], ...] = (
    (DIALECT, _Open(), "a_stranger_is_refused_with_a_code"),
    (DIALECT, _Open(), "a_claim_without_proof_is_refused"),
    (DIALECT, _Open(), "a_claim_changed_after_signing_is_refused"),
    (DIALECT, _Open(), "without_a_secret_nothing_is_authentic"),
    (DIALECT, _Truthy(), "a_signed_claim_is_authentic"),
    (DIALECT, _Raising(), "junk_is_refused_and_nothing_worse"),
    (DIALECT, _FirstSecret(), "each_of_several_secrets_holds"),
    (DIALECT, _PlainRefusal(), "each_of_several_secrets_holds"),
    (DIALECT, _BadCode(), "a_stranger_is_refused_with_a_code"),
    (DIALECT, _Telling(), "no_secret_is_told"),
    (DIALECT, _SecretSigner(), "no_secret_is_told"),
    (DIALECT, _EmptySecret(), "without_a_secret_nothing_is_authentic"),
    (DIALECT, _SaltedDialect(), "the_proof_is_of_the_sort_that_the_method_declares"),
    (
        attrs.evolve(DIALECT, capabilities=frozenset({Capability.SHOWS_PAYLOAD})),
        _Showing(),
        "the_shown_payload_is_the_signed_one",
    ),
    (DIALECT, _Busy(), "a_call_that_is_cancelled_at_any_await_changes_no_later_answer"),
    (DIALECT, _Shy(), "any_call_outside_may_fail_while_a_claim_is_signed_and_checked"),
    (DIALECT, _Generous(), "any_call_outside_may_fail_while_a_claim_is_signed_and_checked"),
    (DIALECT, _Untranslated(), "any_call_outside_may_fail_while_a_claim_is_signed_and_checked"),
    (KEYED, _Stateful("keys"), "calls_at_the_same_time_do_not_mix"),
    (KEYED, _Once(), "a_signed_claim_is_authentic"),
    (KEYED, _AnyKey("keys"), "a_stranger_is_refused_with_a_code"),
    (KEYED, _Unbound("keys"), "a_claim_changed_after_signing_is_refused"),
    (KEYED, _NameUnbound("keys"), "a_claim_changed_after_signing_is_refused"),
    (KEYED, _SaltUnbound("keys"), "junk_is_refused_and_nothing_worse"),
    (KEYED, _ConstantSigner("keys"), "the_signer_identifies_the_key"),
    (KEYED, _NonceSigner("keys"), "the_signer_identifies_the_key"),
    (KEYED, _SilentSign("keys"), "without_a_secret_nothing_is_authentic"),
    (KEYED, _WrongHome("keys"), "the_proof_is_of_the_sort_that_the_method_declares"),
    (CHALLENGED, _ChallengeUnbound("keys"), "the_proof_answers_its_challenge_and_no_other"),
    (attrs.evolve(KEYED, kind="none"), FakeKeyEnrollment("keys"), "the_method_is_described"),
    (
        attrs.evolve(KEYED, sign_again=frozenset({"Bad"})),
        FakeKeyEnrollment("keys"),
        "the_method_is_described",
    ),
    (
        attrs.evolve(KEYED, trial=_swapped),
        FakeKeyEnrollment("keys"),
        "the_keys_of_a_trial_admit_their_leaf",
    ),
    (
        attrs.evolve(KEYED, trial=_misspelt),
        FakeKeyEnrollment("keys"),
        "the_keys_of_a_trial_admit_their_leaf",
    ),
)


@pytest.mark.parametrize(
    ("method", "provider", "rule"), MUTANTS, ids=[f"{type(each[1]).__name__}-{each[2]}" for each in MUTANTS]
)
async def test_a_method_that_breaks_a_rule_is_caught_by_it(
    method: JoinMethod, provider: object, rule: str, tmp_path: Path
) -> None:
    assert rule in await broken(method, provider, tmp_path)


@pytest.mark.parametrize(
    ("method", "provider"),
    [
        (DIALECT, FakeEnrollment()),
        (DIALECT, _Reading()),
        (KEYED, FakeKeyEnrollment("keys")),
        (CHALLENGED, FakeKeyEnrollment("keys")),
    ],
)
async def test_a_proper_method_breaks_none(method: JoinMethod, provider: object, tmp_path: Path) -> None:
    assert await broken(method, provider, tmp_path) == set()


def test_every_rule_catches_somebody() -> None:
    assert {f"test_{rule}" for _, _, rule in MUTANTS} == set(rules())


async def test_a_method_that_binds_no_claim_is_not_held_to_it(tmp_path: Path) -> None:
    method = attrs.evolve(KEYED, binds_claim=False)
    assert await broken(method, _Unbound("keys"), tmp_path) == set()
