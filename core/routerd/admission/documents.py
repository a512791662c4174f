"""Claims and decisions as an administrator reads them."""

from collections.abc import Callable, Iterable
from datetime import datetime

import attrs

from routerd.admission.memory import Memory
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.moment import second_text
from routerd.model.report.claims import ClaimReport, ClaimStatus
from routerd.model.report.phases import ClaimPhase, claim_phase
from routerd.store.records import PendingClaim, Quarantined

LATE = 6
"""A claim is late when less than this part of its life is left: leaves renew after two thirds of it."""


def claim_reports(memory: Memory, substance: Callable[[Claim], str], now: datetime) -> list[ClaimReport]:
    """Return every claim with its phase, by name; a claim and its change that waits are two reports."""
    found = [_admitted(memory, each, now) for each in memory.holdings]
    found += [_waiting(memory, each, substance, now) for each in memory.waiting()]
    found += [_set_aside(each) for each in memory.quarantined.values()]
    return sorted(found, key=lambda report: report.name)


def expiring(admitted: Iterable[AdmittedClaim], now: datetime) -> list[str]:
    """Return in words which claims end soon and have not been renewed as they should."""
    late = []
    for each in admitted:
        if each.expires_at is None or not each.active(now):
            continue
        left = each.expires_at - now
        if left * LATE < each.expires_at - _begin(each):
            late.append(
                f"claim {each.claim.name} of leaf {each.claim.leaf_id} ends at "
                f"{second_text(each.expires_at)} and was not renewed; look at its leaf's enrollment "
                "(a leaf that does not sign itself cannot renew)"
            )
    return late


def _begin(admitted: AdmittedClaim) -> datetime:
    stamp = admitted.claim.join_timestamp
    try:
        return datetime.fromisoformat(stamp) if stamp else admitted.admitted_at
    except ValueError:
        return admitted.admitted_at


def _admitted(memory: Memory, each: AdmittedClaim, now: datetime) -> ClaimReport:
    claim, status = each.claim, admitted_status(each, now)
    if claim.revoked:
        for found in memory.revocations(claim.policy, claim):
            if found.leaf_id == claim.leaf_id:
                lifted = "; its leaf may join again" if found.lifted_at is not None else ""
                status = attrs.evolve(status, reason="claim-revoked", message=found.reason + lifted)
    return ClaimReport(name=claim.name, claim=claim, status=status)


def admitted_status(each: AdmittedClaim, now: datetime) -> ClaimStatus:
    """Return the status of an admitted claim, without the words of its revocation."""
    return ClaimStatus(
        phase=claim_phase(each, now),
        leaf_id=each.claim.leaf_id,
        policy=each.claim.policy,
        message="another leaf has taken over something of it" if each.superseded else "",
        source=str(each.source) if each.source is not None else "",
        method=each.method,
        admitted_at=each.admitted_at,
        expires_at=each.expires_at,
    )


def _waiting(
    memory: Memory, each: PendingClaim, substance: Callable[[Claim], str], now: datetime
) -> ClaimReport:
    claim = each.claim
    verdict = memory.verdict(claim.policy, claim.leaf_id)
    if verdict is not None and verdict.substance != substance(claim):
        verdict = None
    phase: ClaimPhase = "Pending"
    message = ""
    if verdict is not None and not verdict.approved:
        phase, message = "Rejected", verdict.reason
    elif each.expires_at <= now:
        phase, message = "Expired", "it ended while it waited for approval"
    elif memory.holdings.named(claim.name) is not None:
        message = "the claim that holds now goes on until this one is approved"
    status = ClaimStatus(
        phase=phase,
        leaf_id=claim.leaf_id,
        policy=claim.policy,
        reason="approval-pending" if phase == "Pending" else "",
        message=message,
        source=str(each.source) if each.source is not None else "",
        first_seen=each.first_seen,
        expires_at=each.expires_at,
        decided_at=verdict.decided_at if verdict is not None else None,
    )
    return ClaimReport(name=claim.name, claim=claim, status=status)


def _set_aside(each: Quarantined) -> ClaimReport:
    status = ClaimStatus(phase="Quarantined", reason="quarantined", message=each.reason)
    return ClaimReport(name=each.name, status=status)
