"""A claim's document as people want to see it. Fields that a daemon does not send are empty."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from routerd.cli.share import times
from routerd.control.client import Document

PHASES = ("Pending", "Approved", "Rejected", "Revoked", "Expired", "Quarantined")


def part(document: Document, key: str) -> Document:
    """Return a nested document, an empty one when there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def word(document: Document, key: str) -> str:
    """Return a field as text, nothing when it is missing."""
    value = document.get(key)
    return "" if value is None else str(value)


def name_of(claim: Document) -> str:
    """Return the claim's name."""
    return word(part(claim, "metadata"), "name")


def phase_of(claim: Document) -> str:
    """Return the claim's state, from a claim or from the answer to a decision."""
    return word(part(claim, "status"), "phase") or word(claim, "phase")


def leaf_of(claim: Document) -> str:
    """Return the leaf's name."""
    return word(part(claim, "status"), "leafID") or word(part(claim, "spec"), "leafID").strip()


def policy_of(claim: Document) -> str:
    """Return the name of the policy."""
    ref = word(part(claim, "status"), "policy") or word(part(claim, "spec"), "policyRef")
    return ref.strip().rpartition("/")[2]


def why_of(claim: Document) -> str:
    """Return the reason code and the words of the last decision."""
    status = part(claim, "status")
    return ": ".join(text for text in (word(status, "reason"), word(status, "message")) if text)


def details(claim: Document, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield everything worth knowing of a claim, each with its label; empty values are left out."""
    spec, status = part(claim, "spec"), part(claim, "status")
    wireguard = part(spec, "wireGuard")
    rows = (
        ("leaf", leaf_of(claim)),
        ("policy", policy_of(claim)),
        ("reason", word(status, "reason")),
        ("message", word(status, "message")),
        ("owns", ", ".join(_texts(part(spec, "mobility").get("ownedAddresses")))),
        ("tunnel address", word(spec, "tunnelAddress")),
        ("endpoint", word(spec, "endpoint")),
        ("WireGuard key", word(wireguard, "publicKey")),
        ("WireGuard endpoint", word(wireguard, "endpoint")),
        ("signed at", times.text(spec.get("joinTimestamp"))),
        ("came from", word(status, "source")),
        ("first seen", times.text(status.get("firstSeen"))),
        ("admitted", times.text(status.get("admittedAt"))),
        (_end_label(claim), _end(status.get("expiresAt"), now)),
        ("decided", times.text(status.get("decidedAt"))),
    )
    return ((label, value) for label, value in rows if value)


def _end_label(claim: Document) -> str:
    return "ended" if phase_of(claim) in ("Expired", "Revoked") else "ends"


def _end(value: object, now: datetime) -> str:
    text = times.text(value)
    return f"{text} ({times.left(value, now)})" if text else ""


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
