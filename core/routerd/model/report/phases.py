"""The words for states, each vocabulary in one place."""

from datetime import datetime
from typing import Literal, get_args

from routerd.model.claim import AdmittedClaim

RouterPhase = Literal["Ready", "Degraded", "Pending"]
"""`Degraded` has sessions and a reason not to be ready; `Pending` has no session yet."""

ResourcePhase = Literal["Ready", "Pending"]

MembershipPhase = Literal["Pending", "Ready", "Degraded", "Backoff"]
"""The state of a leaf at its route reflectors."""

ClaimPhase = Literal["Pending", "Approved", "Rejected", "Revoked", "Expired", "Quarantined"]
"""The state of a claim at a route reflector, in every command."""

CLAIM_PHASES: tuple[ClaimPhase, ...] = get_args(ClaimPhase)


def claim_phase(admitted: AdmittedClaim, now: datetime) -> ClaimPhase:
    """Return the phase of a claim that was admitted once."""
    if admitted.claim.revoked:
        return "Revoked"
    return "Approved" if admitted.active(now) else "Expired"
