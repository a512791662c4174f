"""The rules that the core relies on in a join method."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import yaml

from routerd import config
from routerd.errors import EnrollmentRefused, ProofMismatch, ProviderError
from routerd.model.claim import Claim, ClaimWireGuard, Placement
from routerd.model.names import PublicKey
from routerd.model.specs.enrollment import NO_JOIN_METHOD
from routerd.spi import (
    MAX_PROOF,
    Capability,
    Enrollment,
    JoinEnd,
    JoinMethod,
    JoinTrial,
    JSONValue,
    PayloadEnrollment,
    Proof,
    Submission,
)
from routerd.testing.awaits import MOST, cancelled_at
from routerd.testing.contracts.enrollment_ends import CHALLENGE, Ends, EnrollmentFixtures
from routerd.testing.contracts.table import DEADLINE
from routerd.testing.faults import FaultPlan
from routerd.testing.outside import failing

CODE = re.compile(r"[a-z][a-z0-9-]{0,63}")

CHANGES: Mapping[str, object] = {
    "policy_ref": "SAMEnrollmentPolicy/other",
    "rr_set_ref": "SAMRRSet/other",
    "leaf_id": "leaf-b",
    "join_audience": "another fabric",
    "join_nonce": "0000000000000000",
    "join_timestamp": "2026-01-01T00:00:01Z",
    "tunnel_address": "10.255.0.3/32",
    "endpoint": "198.51.100.3",
    "direct_mesh": True,
    "owned_addresses": ("10.77.60.12/32",),
    "asn": 64513,
    "router_id": "10.255.0.3",
    "wireguard": ClaimWireGuard(public_key=PublicKey("bm90IHRoZSBrZXkgb2YgdGhlIGxlYWYsIGJ1dCAzMiE=")),
    "placement": Placement(group="site-b", priority=2),
}
"""Another value of each field that every proof of a claim covers."""

CHANGES_BEYOND_SAM: Mapping[str, object] = {"name": "leaf-b", "expires_at": "2027-01-01T00:00:00Z"}
"""The same for the fields that `joinHMAC` of the SAM dialect does not cover."""

JUNK: tuple[Mapping[str, JSONValue], ...] = (
    {},
    {"proof": None},
    {"signature": 1, "key": [], "salt": {}, "seal": True},
    {"signature": "", "key": "", "salt": "", "seal": ""},
    {"signature": "\u00e9\ud7ff", "seal": "\u00e9", "salt": "\u00e9"},
    {"signature": "A" * 4000, "seal": "!" * 4000, "salt": "x"},
    {"a": [[[[1, 2, {"b": 1.5}]]]]},
)
"""Documents that prove nothing, whatever the method."""


class EnrollmentContract(EnrollmentFixtures):
    """The suite of a join method.

    Override `secret` for a method with a shared secret, or the four fixtures of options for one without.
    What the method declares of itself decides which rules apply. Every rule is about one provider that
    serves both ends.

    Added in 1.0.
    """

    def test_the_method_is_described(self, provider: JoinMethod) -> None:
        """It has a name of its own, classes of options, and codes."""
        assert isinstance(provider, JoinMethod), "describe a join method by JoinMethod, not by Provider"
        assert provider.kind != NO_JOIN_METHOD, "`none` is routerd's own word"
        assert attrs.has(provider.policy), "`policy` is not an attrs class"
        assert attrs.has(provider.client), "`client` is not an attrs class"
        assert all(CODE.fullmatch(code) for code in provider.sign_again), "a code of sign_again is not a code"
        assert not (provider.sam_proof and provider.challenges), "joinHMAC answers no challenge"

    @pytest.mark.asyncio
    async def test_a_signed_claim_is_authentic(self, started: Enrollment, claim: Claim, ends: Ends) -> None:
        """`verify` returns nothing for each proof of `sign`, however often the core asks."""
        async with asyncio.timeout(DEADLINE):
            first, second = await started.sign(ends.signing(claim)), await started.sign(ends.signing(claim))
            for proof in (first, second, first):
                answer: object = await cast("Any", started.verify(ends.submission(claim, proof)))
                assert answer is None, "verify must return nothing: a value that nobody reads admits the leaf"

    @pytest.mark.asyncio
    async def test_the_proof_is_of_the_sort_that_the_method_declares(
        self, provider: JoinMethod, started: Enrollment, claim: Claim, ends: Ends
    ) -> None:
        """`sam_proof` fills `joinHMAC`, the same each time; every other method fills the document."""
        async with asyncio.timeout(DEADLINE):
            proof = await started.sign(ends.signing(claim))
            if provider.sam_proof:
                assert proof.join_hmac, "a method with sam_proof fills joinHMAC"
                assert not proof.text, "a method with sam_proof makes no document"
                assert proof == await started.sign(ends.signing(claim)), "joinHMAC is not the same each time"
            else:
                assert proof.document, "only a method with sam_proof fills joinHMAC"
                assert not proof.join_hmac, "only a method with sam_proof fills joinHMAC"
            assert len(proof.text) <= MAX_PROOF

    @pytest.mark.asyncio
    async def test_a_stranger_is_refused_with_a_code(
        self, started: Enrollment, claim: Claim, ends: Ends, stranger: Ends
    ) -> None:
        """A proof by another secret or key does not hold."""
        async with asyncio.timeout(DEADLINE):
            proof = await started.sign(stranger.signing(claim))
            await _refused(started, ends.submission(claim, proof))

    @pytest.mark.asyncio
    async def test_without_a_secret_nothing_is_authentic(
        self, provider: JoinMethod, started: Enrollment, claim: Claim, ends: Ends
    ) -> None:
        """A policy without secret or options admits nobody, and a leaf without them cannot sign."""
        async with asyncio.timeout(DEADLINE):
            proof = await started.sign(ends.signing(claim))
            bare = attrs.evolve(ends.submission(claim, proof), secrets=())
            if provider.shared_secret:
                await _refused(started, bare)
                for secret in (None, ""):
                    with pytest.raises(ProviderError):
                        await started.sign(attrs.evolve(ends.signing(claim), secret=secret))
                    with pytest.raises(ProviderError):
                        await started.signer(attrs.evolve(ends.signing(claim), secret=secret))
                await _refused(started, attrs.evolve(bare, secrets=("",)))
            else:
                await started.verify(bare)
                await _refused(started, attrs.evolve(bare, options=None))
                with pytest.raises(ProviderError):
                    await started.sign(attrs.evolve(ends.signing(claim), options=None))

    @pytest.mark.asyncio
    async def test_each_of_several_secrets_holds(
        self, provider: JoinMethod, started: Enrollment, claim: Claim, ends: Ends, secret: str
    ) -> None:
        """So that a token is exchanged leaf by leaf; a proof that fits none is a `ProofMismatch`."""
        if not provider.shared_secret:
            return
        async with asyncio.timeout(DEADLINE):
            submission = ends.submission(claim, await started.sign(ends.signing(claim)))
            for secrets in ((secret, "other"), ("other", secret), ("other", "another", secret)):
                await started.verify(attrs.evolve(submission, secrets=secrets))
            with pytest.raises(ProofMismatch):
                await started.verify(attrs.evolve(submission, secrets=("other", "another")))

    @pytest.mark.asyncio
    async def test_a_claim_without_proof_is_refused(
        self, started: Enrollment, claim: Claim, ends: Ends
    ) -> None:
        """An empty proof proves nothing."""
        async with asyncio.timeout(DEADLINE):
            await _refused(started, ends.submission(claim, Proof()))

    @pytest.mark.asyncio
    async def test_junk_is_refused_and_nothing_worse(
        self, provider: JoinMethod, started: Enrollment, claim: Claim, ends: Ends
    ) -> None:
        """Whatever a stranger sends, `verify` raises `EnrollmentRefused` and no other exception."""
        async with asyncio.timeout(DEADLINE):
            good = await started.sign(ends.signing(claim))
            proofs = [Proof.of(document) for document in JUNK]
            if provider.sam_proof:
                proofs += [Proof(join_hmac=text) for text in ("x", "\u00e9", "0" * 256, good.join_hmac[:-1])]
            else:
                proofs += [Proof.of(document) for document in _damaged(good.document)]
            for proof in proofs:
                await _refused(started, ends.submission(claim, proof))

    @pytest.mark.parametrize("field", [*CHANGES, *CHANGES_BEYOND_SAM])
    @pytest.mark.asyncio
    async def test_a_claim_changed_after_signing_is_refused(
        self, provider: JoinMethod, started: Enrollment, claim: Claim, ends: Ends, field: str
    ) -> None:
        """With `binds_claim` the proof covers every field; `joinHMAC` those that the SAM dialect signs."""
        if not provider.binds_claim or (provider.sam_proof and field in CHANGES_BEYOND_SAM):
            return
        value = {**CHANGES, **CHANGES_BEYOND_SAM}[field]
        async with asyncio.timeout(DEADLINE):
            proof = await started.sign(ends.signing(claim))
            changed: Claim = attrs.evolve(claim, **{field: value})  # type: ignore[arg-type]  # by the table
            assert changed != claim
            await _refused(started, ends.submission(changed, proof))

    @pytest.mark.asyncio
    async def test_the_proof_answers_its_challenge_and_no_other(
        self, provider: JoinMethod, started: Enrollment, claim: Claim, ends: Ends
    ) -> None:
        """A proof that was made ahead is worth nothing at another challenge, or without one."""
        if not provider.challenges:
            return
        async with asyncio.timeout(DEADLINE):
            proof = await started.sign(ends.signing(claim))
            submission = ends.submission(claim, proof)
            for challenge in ("", CHALLENGE[:-1], CHALLENGE + "A", CHALLENGE.swapcase()):
                await _refused(started, attrs.evolve(submission, challenge=challenge))
            ahead = await started.sign(attrs.evolve(ends.signing(claim), challenge=""))
            await _refused(started, ends.submission(claim, ahead))

    @pytest.mark.asyncio
    async def test_the_signer_identifies_the_key(
        self, started: Enrollment, claim: Claim, ends: Ends, stranger: Ends
    ) -> None:
        """The same for every claim and challenge, another for another key, short and printable."""
        async with asyncio.timeout(DEADLINE):
            signer = await started.signer(ends.signing(claim))
            assert isinstance(signer, str)
            assert signer.isprintable()
            assert 0 < len(signer) <= 256
            other = attrs.evolve(claim, leaf_id="leaf-b", join_nonce="another")
            assert signer == await started.signer(ends.signing(other)), "it depends on the claim"
            bare = attrs.evolve(ends.signing(claim), challenge="")
            assert signer == await started.signer(bare), "it depends on the challenge"
            assert signer != await started.signer(stranger.signing(claim)), "another key has the same signer"

    @pytest.mark.asyncio
    async def test_no_secret_is_told(
        self,
        started: Enrollment,
        claim: Claim,
        ends: Ends,
        stranger: Ends,
        private_texts: tuple[str, ...],
    ) -> None:
        """Neither the proof nor the signer nor a refusal shows a secret of either end."""
        hidden = [*private_texts, *(each.secret for each in (ends, stranger) if each.secret)]
        async with asyncio.timeout(DEADLINE):
            proofs = [await started.sign(each.signing(claim)) for each in (ends, stranger)]
            shown = [text for proof in proofs for text in (proof.text, proof.join_hmac)]
            shown += [await started.signer(each.signing(claim)) for each in (ends, stranger)]
            shown.append(await _refused(started, ends.submission(claim, proofs[1])))
            assert not [text for text in hidden for each in shown if text in each]

    @pytest.mark.asyncio
    async def test_calls_at_the_same_time_do_not_mix(
        self, started: Enrollment, claim: Claim, ends: Ends, stranger: Ends
    ) -> None:
        """A reflector checks many claims at once, and one provider serves all policies and clients."""
        async with asyncio.timeout(DEADLINE):
            claims = [attrs.evolve(claim, join_nonce=f"nonce-{number}") for number in range(8)]
            sides = [stranger if number % 2 else ends for number in range(8)]
            proofs = await asyncio.gather(
                *(started.sign(side.signing(each)) for side, each in zip(sides, claims, strict=True))
            )
            answers = await asyncio.gather(
                *(
                    started.verify(ends.submission(each, proof))
                    for each, proof in zip(claims, proofs, strict=True)
                ),
                return_exceptions=True,
            )
            assert [isinstance(each, EnrollmentRefused) for each in answers] == [False, True] * 4

    @pytest.mark.proves("cancellation")
    @pytest.mark.asyncio
    async def test_a_call_that_is_cancelled_at_any_await_changes_no_later_answer(
        self, started: Enrollment, claim: Claim, ends: Ends, stranger: Ends
    ) -> None:
        """The core cancels a call at its deadline; the next claim is checked as if nothing had been."""
        for number in range(1, MOST + 1):
            signing = ends.signing(claim)
            cancelled = [await cancelled_at(started.sign(signing), number, deadline=DEADLINE)]
            cancelled.append(await cancelled_at(started.signer(signing), number, deadline=DEADLINE))
            async with asyncio.timeout(DEADLINE):
                submission = ends.submission(claim, await started.sign(signing))
                foreign = ends.submission(claim, await started.sign(stranger.signing(claim)))
            cancelled.append(await cancelled_at(started.verify(submission), number, deadline=DEADLINE))
            async with asyncio.timeout(DEADLINE):
                await started.verify(submission)
                await _refused(started, foreign)
            if not any(cancelled):
                break

    @pytest.mark.proves("faults")
    @pytest.mark.asyncio
    async def test_any_call_outside_may_fail_while_a_claim_is_signed_and_checked(
        self, started: Enrollment, claim: Claim, ends: Ends, stranger: Ends
    ) -> None:
        """A fault is a `ProviderError`: it neither refuses a leaf of the fabric nor admits a stranger."""
        async with asyncio.timeout(DEADLINE):
            good = await started.sign(ends.signing(claim))
            foreign = ends.submission(claim, await started.sign(stranger.signing(claim)))
            for number in range(1, MOST + 1):
                plans = [FaultPlan(number) for _ in range(4)]
                with failing(plans[0]), contextlib.suppress(ProviderError):
                    await started.verify(ends.submission(claim, good))
                admitted = False
                with failing(plans[1]), contextlib.suppress(ProviderError, EnrollmentRefused):
                    await started.verify(foreign)
                    admitted = True
                assert not admitted, "a fault admits a stranger"
                with failing(plans[2]), contextlib.suppress(ProviderError):
                    good = await started.sign(ends.signing(claim))
                with failing(plans[3]), contextlib.suppress(ProviderError):
                    await started.signer(ends.signing(claim))
                await started.verify(ends.submission(claim, good))
                if not any(plan.fired for plan in plans):
                    break

    @pytest.mark.asyncio
    async def test_the_keys_of_a_trial_admit_their_leaf(
        self, provider: JoinMethod, started: Enrollment, claim: Claim, secret: str, tmp_path: Path
    ) -> None:
        """`trial` returns options that the method's classes take, with which each leaf signs for itself."""
        if provider.trial is None:
            return
        for leaf in ("leaf-a", "leaf-b"):
            here = tmp_path / leaf
            trial = provider.trial(["leaf-a", "leaf-b"], here)
            assert isinstance(trial, JoinTrial)
            assert set(trial.clients) == {"leaf-a", "leaf-b"}, "`trial` returns one client for each leaf"
            shared = secret if provider.shared_secret else None
            client = _written(trial.clients[leaf], provider.client, here)
            policy = _written(trial.policy, provider.policy, here)
            ends = Ends(secret=shared, policy=policy, client=client, method=provider)
            own = attrs.evolve(claim, name=leaf, leaf_id=leaf)
            async with asyncio.timeout(DEADLINE):
                await started.verify(ends.submission(own, await started.sign(ends.signing(own))))

    @pytest.mark.asyncio
    async def test_the_shown_payload_is_the_signed_one(
        self, provider: JoinMethod, started: Enrollment, claim: Claim, ends: Ends
    ) -> None:
        """The payload has no secret, does not depend on the proof, and changes with the signed fields."""
        if Capability.SHOWS_PAYLOAD not in provider.capabilities:
            return
        async with asyncio.timeout(DEADLINE):
            shown = cast("PayloadEnrollment", started)
            payload = shown.payload(ends.signing(claim))
            proof = await started.sign(ends.signing(claim))
            proven = attrs.evolve(claim, join_hmac=proof.join_hmac)
            assert payload == shown.payload(ends.signing(proven))
            assert payload != shown.payload(ends.signing(attrs.evolve(claim, join_nonce="another")))
            if ends.secret is not None:
                assert ends.secret.encode() not in payload


def _written(end: JoinEnd, options: type[object], directory: Path) -> object:
    """Write the files of one end, and return its options as an instance of the method's class."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for name, content in end.files.items():
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    node = yaml.compose(yaml.safe_dump(dict(end.options)))
    value, problems = config.structure_options(
        node, options, file="trial", resource="trial", path="joinOptions"
    )
    assert not problems, "\n".join(map(str, problems))
    return value


async def _refused(started: Enrollment, submission: Submission) -> str:
    """Return the message with which a submission is refused; the reason must be a code."""
    with pytest.raises(EnrollmentRefused) as refused:
        await started.verify(submission)
    assert CODE.fullmatch(refused.value.reason), f"{refused.value.reason} is not a code"
    assert str(refused.value).strip(), "a refusal needs words"
    return str(refused.value)


def _damaged(document: Mapping[str, JSONValue]) -> Iterator[Mapping[str, JSONValue]]:
    """Yield a good document with each field gone, of another type, or with its text changed."""
    for key, value in document.items():
        yield {name: each for name, each in document.items() if name != key}
        others: list[JSONValue] = [None, 0, [], {}, [value]]
        if isinstance(value, str) and value:
            others += ["", value[1:], ("B" if value[0] == "A" else "A") + value[1:], value + "\u00e9"]
        for other in others:
            yield {**document, key: other}
