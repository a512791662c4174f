"""An admin API over a view in memory, for tests that ask it over its real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

import attrs

from routerd.control.admin import Decision, Document, admin_app, serve_admin
from routerd.errors import ControlError, EnrollmentRefused
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
            "firstSeen": "2026-06-28T12:00:00Z",
            "admittedAt": "2026-06-28T12:00:01Z",
            "expiresAt": "2026-06-29T12:00:00Z",
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


@attrs.define
class MemoryView:
    """Implements `AdminView` over lists."""

    listed: list[Document] = attrs.field(factory=list)
    entries: list[Document] = attrs.field(factory=list)
    decided: list[tuple[str, str, str]] = attrs.field(factory=list)
    admits: bool = True
    words: str = ""
    reachable: bool = True
    explained: list[IPv4Network] = attrs.field(factory=list)

    async def status(self) -> Document:
        return {"phase": "Ready"}

    async def resources(self) -> list[JSONValue]:
        return []

    async def plan(self, file: Path | None = None) -> Document:
        return {"file": str(file)}

    async def reload(self) -> Document:
        return {}

    async def hurry(self) -> None:
        return

    async def claims(self) -> list[JSONValue]:
        if not self.admits:
            raise ControlError("this router admits no claims: no plugin provides a join method")
        return list(self.listed)

    async def decide(self, name: str, verb: Decision, reason: str) -> Document:
        if name not in [each["metadata"]["name"] for each in self.listed]:  # type: ignore[index,call-overload]
            raise EnrollmentRefused("claim-unknown", f"no claim {name} was admitted here")
        if verb == "approve" and name == "leaf-x":
            raise EnrollmentRefused("leaf-id-taken", "leafID leaf-x is held by claim leaf-a")
        self.decided.append((name, verb, reason))
        phase = {"approve": "Approved", "reject": "Rejected", "revoke": "Revoked"}[verb]
        return {"name": name, "phase": phase, "message": self.words or reason}

    async def audit(self, *, limit: int, claim: str | None = None) -> list[JSONValue]:
        found = [each for each in self.entries if claim in (None, each["claim"])]
        return list(found[-limit:])

    async def explain(self, target: IPv4Network) -> Document:
        self.explained.append(target)
        return {
            "address": str(target),
            "reachable": self.reachable,
            "verdict": f"{target} is what it is",
            "steps": [
                {"title": "ours", "state": "note", "text": "not ours"},
                {"title": "kernel", "state": "ok" if self.reachable else "bad", "text": "says so"},
            ],
        }

    async def metrics(self) -> str:
        return "# HELP routerd_ready x\n"


@asynccontextmanager
async def serving_admin(view: MemoryView, directory: Path) -> AsyncIterator[Path]:
    socket = directory / "routerd.sock"
    runner = await serve_admin(admin_app(view, {}), socket)
    try:
        yield socket
    finally:
        await runner.cleanup()
