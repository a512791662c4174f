"""Whose claim an address is, from what the administrator's list and the log of decisions say."""

from __future__ import annotations

from ipaddress import IPv4Network

from tests.unit.control.admin_world import MemoryView, claim_document, entry

from routerd.control.wire import Document
from routerd.report.explain import OwnerFacts
from routerd.report.explain.gather import owners_of

ADDRESS = IPv4Network("10.77.60.31/32")


async def test_the_owner_is_found_with_its_end() -> None:
    owners, aside = await owners_of(ADDRESS, MemoryView(listed=[claim_document()]))
    assert aside == ()
    assert owners == (
        OwnerFacts(
            name="leaf-a",
            leaf="leaf-a",
            phase="Approved",
            policy="SAMEnrollmentPolicy/p",
            until="2026-06-29T12:00:00Z",
        ),
    )


async def test_another_address_has_no_owner() -> None:
    assert await owners_of(IPv4Network("10.77.60.32/32"), MemoryView(listed=[claim_document()])) == ((), ())


async def test_a_revocation_is_dated_by_the_last_one_in_the_log() -> None:
    view = MemoryView(
        listed=[claim_document(phase="Revoked", message="lost")],
        entries=[entry(1), entry(2, decision="revoked"), entry(3), entry(4, decision="revoked"), entry(5)],
    )
    (owner,), _ = await owners_of(ADDRESS, view)
    assert (owner.phase, owner.message, owner.decided_at) == ("Revoked", "lost", "2026-06-28T12:00:04Z")


async def test_a_revocation_that_the_log_has_forgotten_has_no_date() -> None:
    (owner,), _ = await owners_of(ADDRESS, MemoryView(listed=[claim_document(phase="Revoked")]))
    assert owner.decided_at == ""


async def test_a_rejection_is_dated_by_the_claim() -> None:
    view = MemoryView(listed=[claim_document(phase="Rejected", decidedAt="2026-06-28T12:30:00Z")])
    (owner,), _ = await owners_of(ADDRESS, view)
    assert owner.decided_at == "2026-06-28T12:30:00Z"


async def test_a_claim_that_is_set_aside_is_named() -> None:
    odd: Document = {
        "metadata": {"name": "odd"},
        "spec": {},
        "status": {"phase": "Quarantined", "reason": "quarantined", "message": "no JSON"},
    }
    assert await owners_of(ADDRESS, MemoryView(listed=[odd])) == ((), ("odd",))
