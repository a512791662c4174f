"""Claims and decisions as an administrator reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from routerd.admission.memory import Register
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.specs.claim_codec import claim_to_document
from routerd.spi import JSONValue
from routerd.store.records import AuditEntry, PendingClaim, Quarantined

Document = dict[str, JSONValue]

LATE = 6
"""A claim is late when less than this part of its life is left: leaves renew after two thirds of it."""


def claim_documents(register: Register, substance: Callable[[Claim], str], now: datetime) -> list[JSONValue]:
    """Return every claim with its phase, by name; one that changes stands there twice."""
    found: list[tuple[str, Document]] = [
        (each.claim.name, _admitted(register, each, now)) for each in register.roster
    ]
    found += [(each.claim.name, _waiting(register, each, substance, now)) for each in register.waiting()]
    found += [(each.name, _set_aside(each)) for each in register.quarantined.values()]
    return [document for _, document in sorted(found, key=lambda pair: pair[0])]


def expiring(admitted: Iterable[AdmittedClaim], now: datetime) -> list[str]:
    """Return in words which claims end soon and have not been renewed as they should."""
    late = []
    for each in admitted:
        if each.expires_at is None or not each.active(now):
            continue
        left = each.expires_at - now
        if left * LATE < each.expires_at - _begin(each):
            late.append(
                f"claim {each.claim.name} of leaf {each.claim.leaf_id.strip()} ends at "
                f"{_time(each.expires_at)} and was not renewed; look at its leaf's enrollment "
                "(a leaf without joinTokenFrom cannot renew)"
            )
    return late


def _begin(admitted: AdmittedClaim) -> datetime:
    stamp = admitted.claim.join_timestamp.strip()
    try:
        return datetime.fromisoformat(stamp) if stamp else admitted.admitted_at
    except ValueError:
        return admitted.admitted_at


def _admitted(register: Register, each: AdmittedClaim, now: datetime) -> Document:
    claim = each.claim
    phase, reason = ("Approved", "") if each.active(now) else ("Expired", "")
    message = "another leaf has taken over something of it" if each.superseded else ""
    lifted = ""
    if claim.revoked:
        phase = "Revoked"
        for found in register.revocations(claim.policy, claim):
            if found.leaf_id == claim.leaf_id.strip():
                reason, message = "claim-revoked", found.reason
                lifted = "; its leaf may join again" if found.lifted_at is not None else ""
    return _document(
        claim,
        phase=phase,
        reason=reason,
        message=message + lifted,
        source=str(each.source) if each.source is not None else "",
        admittedAt=_time(each.admitted_at),
        expiresAt=_time(each.expires_at),
    )


def _waiting(
    register: Register, each: PendingClaim, substance: Callable[[Claim], str], now: datetime
) -> Document:
    claim = each.claim
    verdict = register.verdict(claim.policy, claim.leaf_id.strip())
    decided = verdict is not None and verdict.substance == substance(claim)
    if decided and verdict is not None and not verdict.approved:
        phase, message = "Rejected", verdict.reason
    elif each.expires_at <= now:
        phase, message = "Expired", "it ended while it waited for approval"
    else:
        phase, message = "Pending", ""
        if register.roster.named(claim.name) is not None:
            message = "the claim that holds now goes on until this one is approved"
    return _document(
        claim,
        phase=phase,
        reason="approval-pending" if phase == "Pending" else "",
        message=message,
        source=str(each.source) if each.source is not None else "",
        firstSeen=_time(each.first_seen),
        expiresAt=_time(each.expires_at),
        decidedAt=_time(verdict.decided_at) if decided and verdict is not None else None,
    )


def _set_aside(each: Quarantined) -> Document:
    return {
        "kind": "SAMEnrollmentClaim",
        "metadata": {"name": each.name},
        "spec": {},
        "status": {"phase": "Quarantined", "reason": "quarantined", "message": each.reason},
    }


def _document(claim: Claim, **status: JSONValue) -> Document:
    document: Document = claim_to_document(claim)
    document["status"] = {"leafID": claim.leaf_id.strip(), "policy": claim.policy, **status}
    return document


def entry_document(entry: AuditEntry) -> JSONValue:
    """Return a decision as JSON."""
    return {
        "number": entry.number,
        "at": _time(entry.at),
        "source": entry.source,
        "claim": entry.claim,
        "leafID": entry.leaf_id,
        "policy": entry.policy,
        "decision": entry.decision,
        "reason": entry.reason,
        "message": entry.message,
        "count": entry.count,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
