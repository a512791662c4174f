"""Collects the facts of an explanation from a running router, and from the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Protocol, cast

from routerd.errors import ProviderError
from routerd.kernel.routes.lookup import RouteAnswer, lookup
from routerd.model.claim import prefix
from routerd.report.explain.facts import Facts, OwnerFacts
from routerd.report.status import Live
from routerd.report.subject import Subject
from routerd.spi import JSONValue

Document = dict[str, JSONValue]

_AUDITED = 50
"""How many of a claim's latest decisions are looked through for its revocation."""


class Claims(Protocol):
    """Who knows every claim and every decision."""

    async def claims(self) -> list[JSONValue]:
        """Return every claim, by name."""
        ...

    async def audit(self, *, limit: int, claim: str | None = None) -> list[JSONValue]:
        """Return the latest decisions, oldest first."""
        ...


async def gather(
    subject: Subject,
    target: IPv4Network,
    live: Live,
    *,
    claims: Claims | None,
    memberships: Sequence[str],
) -> Facts:
    """Return what is known of an address; `claims` is none where nobody decides on any."""
    owners, set_aside = await owners_of(target, claims) if claims is not None else ((), ())
    answer: RouteAnswer | None = None
    error = ""
    try:
        answer = await lookup(target.network_address)
    except ProviderError as caught:
        error = str(caught)
    inputs = subject.inputs()
    return Facts(
        target=target,
        inputs=inputs,
        desired=subject.derive(),
        live=live,
        reports=subject.loop.reports(),
        gates=subject.gates(),
        waiting=dict(subject.knowledge.waiting),
        owners=owners,
        set_aside=set_aside,
        memberships=tuple(memberships),
        answer=answer,
        answer_error=error,
    )


async def owners_of(target: IPv4Network, claims: Claims) -> tuple[tuple[OwnerFacts, ...], tuple[str, ...]]:
    """Return the claims that have an address, and the names of those of which nobody knows that."""
    documents = cast("list[Document]", await claims.claims())
    owners = [await _owner(each, claims) for each in documents if _has(each, target)]
    aside = [_name(each) for each in documents if _status(each)["phase"] == "Quarantined"]
    return tuple(owners), tuple(aside)


def _has(document: Document, target: IPv4Network) -> bool:
    spec = cast("Document", document["spec"])
    mobility = cast("Document", spec.get("mobility") or {})
    owned = cast("list[str]", mobility.get("ownedAddresses") or [])
    return any(target.subnet_of(prefix(text.strip())) for text in owned)


def _name(document: Document) -> str:
    return str(cast("Document", document["metadata"])["name"])


def _status(document: Document) -> Document:
    return cast("Document", document["status"])


async def _owner(document: Document, claims: Claims) -> OwnerFacts:
    name, status = _name(document), _status(document)
    phase = str(status["phase"])
    decided_at = status.get("decidedAt")
    if phase == "Revoked":
        entries = cast("list[Document]", await claims.audit(limit=_AUDITED, claim=name))
        moments = [each["at"] for each in entries if each["decision"] == "revoked"]
        decided_at = moments[-1] if moments else None
    return OwnerFacts(
        name=name,
        leaf=str(status["leafID"]),
        phase=phase,
        policy=str(status["policy"]),
        message=str(status.get("message") or ""),
        until=str(status.get("expiresAt") or ""),
        decided_at=str(decided_at or ""),
    )
