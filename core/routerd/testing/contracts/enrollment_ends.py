"""What the suite of a join method gives the leaf and the route reflector."""

from __future__ import annotations

from ipaddress import IPv4Address

import attrs
import pytest

from routerd.model.claim import Claim, ClaimWireGuard
from routerd.model.names import PublicKey
from routerd.spi import JoinMethod, Proof, Signing, Submission
from routerd.testing.contracts.provider import ProviderContract

CHALLENGE = "bm9uY2Ugb2YgdGhlIHJlZmxlY3Rvcg"


@attrs.frozen(kw_only=True)
class Ends:
    """What a leaf has to sign with, and what a policy has to check with.

    Added in 1.0.
    """

    secret: str | None
    policy: object
    client: object
    method: JoinMethod

    def signing(self, claim: Claim) -> Signing:
        """Return the question that the leaf's core asks the method."""
        challenge = CHALLENGE if self.method.challenges else ""
        return Signing(claim=claim, secret=self.secret, options=self.client, challenge=challenge)

    def submission(self, claim: Claim, proof: Proof) -> Submission:
        """Return the question that the reflector's core asks the method."""
        return Submission(
            claim=attrs.evolve(claim, join_hmac=proof.join_hmac),
            proof=proof,
            source=IPv4Address("198.51.100.2"),
            secrets=(self.secret,) if self.secret is not None else (),
            options=self.policy,
            challenge=CHALLENGE if self.method.challenges else "",
        )


class EnrollmentFixtures(ProviderContract):
    """What the suite of a join method gives both ends."""

    @pytest.fixture
    def claim(self) -> Claim:
        """Return a claim without proof, with every field of a leaf filled in."""
        return Claim(
            name="leaf-a",
            policy_ref="SAMEnrollmentPolicy/site",
            rr_set_ref="SAMRRSet/rrs",
            leaf_id="leaf-a",
            tunnel_address="10.255.0.2/32",
            join_audience="fabric",
            join_nonce="3f1c9a52d7e84b60",
            join_timestamp="2026-01-01T00:00:00Z",
            endpoint="198.51.100.2",
            owned_addresses=("10.77.60.11/32",),
            asn=64512,
            router_id="10.255.0.2",
            wireguard=ClaimWireGuard(public_key=PublicKey("YSBrZXkgb2YgV2lyZUd1YXJkIG9mIDMyIGJ5dGVzISE=")),
        )

    @pytest.fixture
    def secret(self) -> str:
        """Return the secret of both ends."""
        return "correct horse battery staple"

    @pytest.fixture
    def policy_options(self) -> object:
        """Return the `joinOptions` of a policy that admits the leaf of `claim`."""
        return None

    @pytest.fixture
    def client_options(self) -> object:
        """Return the `joinOptions` of the client of that leaf."""
        return None

    @pytest.fixture
    def stranger_options(self) -> object:
        """Return the `joinOptions` of a client whose key the policy does not admit for that leaf."""
        return None

    @pytest.fixture
    def private_texts(self) -> tuple[str, ...]:
        """Return texts that no proof, message or signer may show; `secret` is one of them anyway."""
        return ()

    @pytest.fixture
    def ends(self, provider: JoinMethod, secret: str, policy_options: object, client_options: object) -> Ends:
        """Return what both ends have."""
        if provider.shared_secret:
            return Ends(secret=secret, policy=policy_options, client=client_options, method=provider)
        assert isinstance(policy_options, provider.policy), "override the fixture `policy_options`"
        assert isinstance(client_options, provider.client), "override the fixture `client_options`"
        return Ends(secret=None, policy=policy_options, client=client_options, method=provider)

    @pytest.fixture
    def stranger(self, provider: JoinMethod, ends: Ends, secret: str, stranger_options: object) -> Ends:
        """Return what a leaf has that may not join."""
        if provider.shared_secret:
            return attrs.evolve(ends, secret=secret + "x")
        assert isinstance(stranger_options, provider.client), "override the fixture `stranger_options`"
        return attrs.evolve(ends, client=stranger_options)
