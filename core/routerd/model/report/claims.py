"""Claims and decisions as an administrator reads them."""

from datetime import datetime
from typing import Literal

import attrs

from routerd.model.claim import Claim
from routerd.model.report.phases import ClaimPhase

Decision = Literal["admitted", "renewed", "pending", "approved", "rejected", "revoked", "refused"]


@attrs.frozen(kw_only=True)
class AuditEntry:
    """One decision on a claim; `count` folds equal decisions within a short time.

    `number` is 0 until the store has the entry. `source` is an address, or empty for the admin socket.
    """

    at: datetime
    decision: Decision
    claim: str
    leaf_id: str = ""
    policy: str = ""
    source: str = ""
    reason: str = ""
    message: str = ""
    count: int = 1
    number: int = 0


@attrs.frozen(kw_only=True)
class ClaimStatus:
    """The state of a claim. `source` is the address of its sender, empty for a Unix socket.

    `method` is the join method that checked its proof, empty for a claim of an earlier routerd.
    """

    phase: ClaimPhase
    leaf_id: str = ""
    policy: str = ""
    reason: str = ""
    message: str = ""
    source: str = ""
    method: str = ""
    first_seen: datetime | None = None
    admitted_at: datetime | None = None
    expires_at: datetime | None = None
    decided_at: datetime | None = None


@attrs.frozen(kw_only=True)
class ClaimReport:
    """A claim and its state; `claim` is none for one that cannot be read (Quarantined).

    `waiting` is a change of the claim that waits for approval.
    """

    name: str
    status: ClaimStatus
    claim: Claim | None = None
    waiting: "ClaimReport | None" = None


@attrs.frozen(kw_only=True)
class ClaimList:
    """Claims by name; a claim and its change that waits are two items."""

    items: tuple[ClaimReport, ...] = ()


@attrs.frozen(kw_only=True)
class ClaimDecision:
    """The answer to a decision: the phase of the claim after it, and what follows for its leaf."""

    name: str
    phase: ClaimPhase
    message: str = ""


@attrs.frozen(kw_only=True)
class DecisionList:
    """Decisions on claims, oldest first."""

    items: tuple[AuditEntry, ...] = ()


@attrs.frozen(kw_only=True)
class Submission:
    """The answer of one route reflector; `expires_at` is none for a claim without an end."""

    target: str
    accepted: bool
    text: str
    reason: str = ""
    expires_at: datetime | None = None


@attrs.frozen(kw_only=True)
class SubmissionList:
    """The answers of the route reflectors that a claim was submitted to."""

    claim: str
    items: tuple[Submission, ...] = ()


@attrs.frozen(kw_only=True)
class ClaimSignature:
    """The proof of a claim; `payload` is the signed text where it was asked for."""

    claim: str
    join_hmac: str
    payload: str | None = None
