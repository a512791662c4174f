"""A claim in words."""

from collections.abc import Iterator
from datetime import datetime

from routerd.cli.share import times
from routerd.model.names import Ref
from routerd.model.report.claims import ClaimReport


def policy_of(claim: ClaimReport) -> str:
    """Return the name of the policy."""
    return Ref.parse(claim.status.policy).name


def why_of(claim: ClaimReport) -> str:
    """Return the reason code and the words of the last decision."""
    return ": ".join(text for text in (claim.status.reason, claim.status.message) if text)


def details(report: ClaimReport, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the parts of a claim, each with its label; empty parts are left out."""
    claim, status = report.claim, report.status
    rows = [
        ("leaf", status.leaf_id),
        ("policy", policy_of(report)),
        ("reason", status.reason),
        ("message", status.message),
    ]
    if claim is not None:
        rows += [
            ("owns", ", ".join(claim.owned_addresses)),
            ("tunnel address", claim.tunnel_address),
            ("endpoint", claim.endpoint),
            ("WireGuard key", claim.wireguard.public_key if claim.wireguard else ""),
            ("WireGuard endpoint", claim.wireguard.endpoint if claim.wireguard else ""),
            ("signed at", _signed(claim.join_timestamp)),
        ]
    end = ""
    if status.expires_at is not None:
        end = f"{times.text(status.expires_at)} ({times.left(status.expires_at, now)})"
    rows += [
        ("came from", status.source),
        ("joined by", status.method),
        ("first seen", times.text(status.first_seen)),
        ("admitted", times.text(status.admitted_at)),
        ("ended" if status.phase in ("Expired", "Revoked") else "ends", end),
        ("decided", times.text(status.decided_at)),
    ]
    return ((label, value) for label, value in rows if value)


def _signed(stamp: str) -> str:
    """Return the time in a claim to the second; the leaf wrote it, so it may be any text."""
    try:
        return times.text(datetime.fromisoformat(stamp))
    except ValueError:
        return stamp
