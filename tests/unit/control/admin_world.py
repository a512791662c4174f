"""An admin API over a view in memory, for tests that ask it over its real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from routerd.control import client
from routerd.control.admin import admin_app, serve_admin
from routerd.control.ports import Decision
from routerd.control.wire import Document, from_document
from routerd.errors import ControlError, EnrollmentRefused
from routerd.model.addresses import IPNetwork
from routerd.model.report import API_VERSION
from routerd.model.report.claims import AuditEntry, ClaimDecision, ClaimReport, DecisionList
from routerd.model.report.explanation import Explanation, Step
from routerd.model.report.phases import ClaimPhase
from routerd.model.report.plan import Plan
from routerd.model.report.resources import ResourceList
from routerd.model.report.status import Status
from routerd.model.subsystem import Flow
from routerd.spi import JSONValue


def claim_document(name: str = "leaf-a", phase: str = "Approved", **status: JSONValue) -> Document:
    return {
        "apiVersion": "mobility.routerd.net/v1alpha1",
        "kind": "SAMEnrollmentClaim",
        "metadata": {"name": name},
        "spec": {
            "policyRef": "SAMEnrollmentPolicy/p",
            "leafID": name,
            "tunnelAddress": "10.255.0.31/32",
            "endpoint": "198.51.100.31",
            "mobility": {"ownedAddresses": ["10.77.60.31/32"]},
            "wireGuard": {"publicKey": "key-of-leaf", "endpoint": "198.51.100.31:51820"},
        },
        "status": {
            "phase": phase,
            "reason": "",
            "message": "",
            "leafID": name,
            "policy": "SAMEnrollmentPolicy/p",
            "source": "198.51.100.31",
            "method": "token",
            "firstSeen": "2026-06-28T12:00:00Z",
            "admittedAt": "2026-06-28T12:00:01Z",
            "expiresAt": "2026-06-29T12:00:00Z",
            "decidedAt": None,
            **status,
        },
    }


def entry(number: int, claim: str = "leaf-a", decision: str = "admitted", **more: JSONValue) -> Document:
    return {
        "number": number,
        "at": f"2026-06-28T12:00:{number:02d}Z",
        "source": "198.51.100.31",
        "claim": claim,
        "leafID": claim,
        "policy": "SAMEnrollmentPolicy/p",
        "decision": decision,
        "reason": "",
        "message": "",
        "count": 1,
        **more,
    }


_DECIDED: Mapping[Decision, ClaimPhase] = {
    "approve": "Approved",
    "reject": "Rejected",
    "revoke": "Revoked",
}


def audit_entry(document: Document) -> AuditEntry:
    (found,) = from_document(
        {"apiVersion": API_VERSION, "kind": "DecisionList", "items": [document]}, DecisionList
    ).items
    return found


async def request(*arguments: Any, **options: Any) -> Document:
    """Ask the server of this very loop."""
    return await asyncio.to_thread(client.request, *arguments, **options)


async def request_text(*arguments: Any) -> str:
    return await asyncio.to_thread(client.request_text, *arguments)


@attrs.define
class MemoryView:
    """Implements `AdminView` and `ClaimDesk` over lists."""

    listed: list[Document] = attrs.field(factory=list)
    entries: list[Document] = attrs.field(factory=list)
    decided: list[tuple[str, str, str]] = attrs.field(factory=list)
    admits: bool = True
    words: str = ""
    reachable: bool = True
    explained: list[IPNetwork] = attrs.field(factory=list)
    flows: list[Flow | None] = attrs.field(factory=list)

    async def status(self) -> Status:
        return Status(phase="Ready")

    async def resources(self) -> ResourceList:
        return ResourceList()

    async def plan(self, file: Path | None = None) -> Plan:
        return Plan(unreadable=(str(file),))

    async def reload(self) -> None:
        return

    async def hurry(self) -> None:
        return

    async def claims(self) -> list[ClaimReport]:
        if not self.admits:
            raise ControlError("this router admits no claims: no plugin provides a join method")
        return [from_document(each, ClaimReport) for each in self.listed]

    async def decide(self, name: str, verb: Decision, reason: str) -> ClaimDecision:
        if name not in [each["metadata"]["name"] for each in self.listed]:  # type: ignore[index,call-overload]
            raise EnrollmentRefused("claim-unknown", f"no claim {name} was admitted here")
        if verb == "approve" and name == "leaf-x":
            raise EnrollmentRefused("leaf-id-taken", "leafID leaf-x is held by claim leaf-a")
        self.decided.append((name, verb, reason))
        phases: dict[Decision, ClaimPhase] = {
            "approve": "Approved",
            "reject": "Rejected",
            "revoke": "Revoked",
        }
        return ClaimDecision(name=name, phase=phases[verb], message=self.words or reason)

    async def audit(self, *, limit: int, claim: str | None = None) -> list[AuditEntry]:
        found = [each for each in self.entries if claim in (None, each["claim"])]
        return [audit_entry(each) for each in found[-limit:]]

    async def explain(self, target: IPNetwork, flow: Flow | None = None) -> Explanation:
        self.explained.append(target)
        self.flows.append(flow)
        return Explanation(
            address=str(target),
            reachable=self.reachable,
            verdict=f"{target} is what it is",
            steps=(
                Step("ours", "note", "not ours"),
                Step("kernel", "ok" if self.reachable else "bad", "says so"),
            ),
        )

    async def metrics(self) -> str:
        return "# HELP routerd_ready x\n"


@asynccontextmanager
async def serving_admin(view: MemoryView, directory: Path) -> AsyncIterator[Path]:
    socket = directory / "routerd.sock"
    runner = await serve_admin(admin_app(view, view, {}), socket)
    try:
        yield socket
    finally:
        await runner.cleanup()
