"""A desk without a listener, for the tests beside this file: what is submitted to it and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
from tests.unit.admission.enrollment_world import Reflector

from routerd.admission.desk import Desk
from routerd.errors import EnrollmentRefused
from routerd.model.claim import Claim
from routerd.model.report.claims import AuditEntry
from routerd.model.specs.claim_codec import claim_to_document
from routerd.store import open_store

SOURCE = IPv4Address("198.51.100.31")


@asynccontextmanager
async def at(rr: Reflector) -> AsyncIterator[Desk]:
    """Yield the desk of a reflector that starts, and end it."""
    store = open_store(rr.path, clock=rr.clock)
    desk = rr.desk(store)
    try:
        yield desk
    finally:
        await desk.aclose()
        store.close()


async def submit(desk: Desk, made: Claim, source: IPv4Address | None = SOURCE) -> None:
    await desk.submit(claim_to_document(made), source)


async def refusal(desk: Desk, made: Claim) -> str:
    with pytest.raises(EnrollmentRefused) as refused:
        await submit(desk, made)
    return refused.value.reason


async def phases(desk: Desk) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in await desk.claims():
        found.setdefault(each.name, []).append(each.status.phase)
    return found


async def trail(desk: Desk, claim: str | None = None) -> Sequence[AuditEntry]:
    return await desk.audit(limit=100, claim=claim)


async def decisions(desk: Desk) -> list[str]:
    return [each.decision for each in await trail(desk)]
