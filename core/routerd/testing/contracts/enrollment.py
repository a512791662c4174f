"""The rules that the core relies on in a join method."""

from __future__ import annotations

import asyncio
import re
from ipaddress import IPv4Address
from typing import cast

import attrs
import pytest

from routerd.errors import EnrollmentRefused
from routerd.model.claim import Claim, Submission
from routerd.spi import Capability, Enrollment, PayloadEnrollment, Provider
from routerd.testing.contracts.provider import ProviderContract
from routerd.testing.contracts.table import DEADLINE


class EnrollmentContract(ProviderContract):
    """The suite of a join method. Override `claim` and `secret` if the defaults do not fit.

    Added in 1.0.
    """

    @pytest.fixture
    def secret(self) -> str:
        """Return the secret of both ends."""
        return "correct horse battery staple"

    @pytest.fixture
    def claim(self) -> Claim:
        """Return a claim without proof, with every field of a leaf filled in."""
        return Claim(
            name="leaf-a",
            policy_ref="SAMEnrollmentPolicy/site",
            leaf_id="leaf-a",
            tunnel_address="10.255.0.2/32",
            join_audience="fabric",
            join_nonce="3f1c9a52d7e84b60",
            join_timestamp="2026-01-01T00:00:00Z",
            endpoint="198.51.100.2",
            owned_addresses=("10.77.60.11/32",),
            asn=64512,
            router_id="10.255.0.2",
        )

    @pytest.mark.asyncio
    async def test_a_signed_claim_is_authentic(
        self,
        started: Enrollment,
        claim: Claim,
        secret: str,
    ) -> None:
        """`authenticate` accepts the result of `sign`, which only fills in the proof."""
        async with asyncio.timeout(DEADLINE):
            signed = await started.sign(claim, secret)
            assert signed != claim
            assert attrs.evolve(signed, join_hmac=claim.join_hmac) == claim
            assert await started.authenticate(_submit(signed, secret)) is None  # type: ignore[func-returns-value]  # it must return nothing

    @pytest.mark.asyncio
    async def test_a_wrong_or_missing_secret_is_refused_with_a_reason(
        self,
        started: Enrollment,
        claim: Claim,
        secret: str,
    ) -> None:
        """The reason is a code, and neither secret is in the message."""
        async with asyncio.timeout(DEADLINE):
            signed = await started.sign(claim, secret)
            for other in (secret + "x", "", None):
                with pytest.raises(EnrollmentRefused) as refused:
                    await started.authenticate(_submit(signed, other))
                assert re.fullmatch(r"[A-Za-z0-9_-]+", refused.value.reason)
                assert secret not in str(refused.value)

    @pytest.mark.asyncio
    async def test_a_claim_without_proof_is_refused(
        self,
        started: Enrollment,
        claim: Claim,
        secret: str,
    ) -> None:
        """An empty proof proves nothing."""
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(EnrollmentRefused):
                await started.authenticate(_submit(claim, secret))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("leaf_id", "leaf-b"),
            ("tunnel_address", "10.255.0.3/32"),
            ("join_nonce", "0000000000000000"),
            ("join_timestamp", "2026-01-01T00:00:01Z"),
            ("owned_addresses", ("10.77.60.12/32",)),
        ],
    )
    @pytest.mark.asyncio
    async def test_a_claim_changed_after_signing_is_refused(
        self,
        started: Enrollment,
        claim: Claim,
        secret: str,
        field: str,
        value: object,
    ) -> None:
        """The proof covers the leaf, its address, the time, and the addresses that it may announce."""
        async with asyncio.timeout(DEADLINE):
            signed = await started.sign(claim, secret)
            changed: Claim = attrs.evolve(signed, **{field: value})  # type: ignore[arg-type]  # by the parametrisation
            assert changed != signed
            with pytest.raises(EnrollmentRefused):
                await started.authenticate(_submit(changed, secret))

    @pytest.mark.asyncio
    async def test_the_digest_follows_the_proof(
        self,
        started: Enrollment,
        claim: Claim,
        secret: str,
    ) -> None:
        """`sha256:` and 64 digits, the same for the same claim, another for another proof or state."""
        async with asyncio.timeout(DEADLINE):
            signed = await started.sign(claim, secret)
            digest = started.digest(signed)
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
            assert digest == started.digest(signed)
            assert digest != started.digest(claim)
            assert digest != started.digest(attrs.evolve(signed, revoked=True))

    @pytest.mark.asyncio
    async def test_the_shown_payload_is_the_signed_one(
        self,
        provider: Provider[Enrollment],
        started: Enrollment,
        claim: Claim,
        secret: str,
    ) -> None:
        """The payload has no secret, does not depend on the proof, and changes with the signed fields."""
        if Capability.SHOWS_PAYLOAD not in provider.capabilities:
            return
        async with asyncio.timeout(DEADLINE):
            shown = cast("PayloadEnrollment", started)
            payload = shown.payload(claim)
            assert payload == shown.payload(await started.sign(claim, secret))
            assert payload != shown.payload(attrs.evolve(claim, join_nonce="another"))
            assert secret.encode() not in payload


def _submit(claim: Claim, secret: str | None) -> Submission:
    return Submission(claim=claim, source=IPv4Address("198.51.100.2"), secret=secret)
