"""What the listeners need from the daemon."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, Protocol

import attrs

from routerd.model.report.actions import ActionApproval, ActionDetails, ActionList, ActionUndo
from routerd.model.report.claims import AuditEntry, ClaimDecision, ClaimReport
from routerd.spi import JSONValue, Proof

API_VERSION = "control.routerd.net/v1alpha1"
PREFIX = f"/api/{API_VERSION}"

Source = IPv4Address | IPv6Address
"""The address that a request came from; none for a Unix socket."""


Decision = Literal["approve", "reject", "revoke"]
"""What an administrator may decide about a claim."""

ACTIONS_LIMIT = 20
ACTIONS_MOST = 1_000
"""How many changes of clouds that were made are shown at once: unasked, and at most."""

AUDIT_LIMIT = 100
AUDIT_MOST = 10_000
"""How many decisions are shown at once: unasked, and at most."""


@attrs.frozen(kw_only=True)
class PresentedProof:
    """A proof as it travels beside a claim: its join method, and the challenge that it answers."""

    method: str
    proof: Proof
    challenge: str = ""


@attrs.frozen(kw_only=True)
class ChallengeAsked:
    """The question for a challenge; `public_key` is the WireGuard key of the claim, empty for none."""

    policy_ref: str
    leaf_id: str
    public_key: str = ""


@attrs.frozen(kw_only=True)
class IssuedChallenge:
    """A challenge for one leaf and key; it serves once, before `expires_at`."""

    method: str
    challenge: str
    expires_at: datetime


@attrs.frozen(kw_only=True)
class Accepted:
    """A claim that was admitted; `expires_at` is its true end."""

    claim_ref: str
    observed_at: datetime
    expires_at: datetime | None


@attrs.frozen(kw_only=True)
class ServedTopology:
    """The set of route reflectors for one admitted claim, and the digest of that claim."""

    rr_set: Mapping[str, JSONValue]
    claim_digest: str


@attrs.frozen(kw_only=True)
class Revoked:
    """A claim that was revoked."""

    claim_ref: str
    observed_at: datetime
    reason: str


class AdmissionDesk(Protocol):
    """Decides on claims. Every method raises `EnrollmentRefused` with a reason code.

    `StoreError` means that nothing was decided, because the store did not take the decision.
    """

    async def challenge(self, asked: ChallengeAsked, source: Source | None) -> IssuedChallenge:
        """Return a challenge that the leaf's join method has to answer."""

    async def submit(
        self, document: JSONValue, source: Source | None, proof: PresentedProof | None = None
    ) -> Accepted:
        """Judge the claim in a JSON document; it is on the disk when this returns.

        `proof` is that of a join method beside the claim; none for `joinHMAC`, which is in the claim.
        A claim that waits for approval is refused with `approval-pending` until an operator decides.
        """

    async def topology(
        self, rr_set: str, claim_ref: str, *, digest: str, source: Source | None
    ) -> ServedTopology:
        """Return the route reflectors of a set to a client that proves it holds an admitted claim.

        `digest` is that of the claim as the leaf computed it, empty when the leaf sent none. Without
        it the request must come from the address that submitted the claim.
        """

    async def revoke(self, name: str, reason: str, source: Source | None) -> Revoked:
        """End a claim for good."""


class ClaimDesk(Protocol):
    """Decides on claims for an administrator."""

    async def claims(self) -> Sequence[ClaimReport]:
        """Return every claim that this route reflector knows, by name, in every phase."""

    async def decide(self, name: str, verb: Decision, reason: str) -> ClaimDecision:
        """Approve, reject or revoke the claim of that name; `EnrollmentRefused` when there is none."""

    async def audit(self, *, limit: int, claim: str | None = None) -> Sequence[AuditEntry]:
        """Return the latest `limit` decisions on claims, oldest first; of one claim or of all."""


class ActionDesk(Protocol):
    """Shows changes of clouds, and approves and undoes them. Refuses with `ActionRefused`.

    `StoreError` means that nothing was decided, because it could not be written down.
    """

    async def listing(self, *, profile: str | None, limit: int) -> ActionList:
        """Return what is not made yet, and the `limit` latest that were made; of one profile or of all."""

    async def show(self, action: str) -> ActionDetails:
        """Return everything about one change, by the id of what waits or the number of what was made."""

    async def approve(self, actions: Sequence[str], *, every: bool, profile: str | None) -> ActionApproval:
        """Approve changes by id, or with `every` all that wait: all of it or nothing."""

    async def undo(self, number: int) -> ActionUndo:
        """Put back what was there before a change that was made."""
