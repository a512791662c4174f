"""The metrics are what the status says, in a form that Prometheus' own parser reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf

from prometheus_client.parser import text_string_to_metric_families
from tests.unit.control.admin_world import claim_document

from routerd.control.wire import from_document
from routerd.model.report import API_VERSION
from routerd.model.report.claims import ClaimReport
from routerd.model.report.status import Status
from routerd.report.metrics import SESSION_STATES, exposition
from routerd.spi import JSONValue

NOW = datetime(2026, 6, 28, 12, tzinfo=UTC)

WAITING: JSONValue = {
    "name": "routes/aws",
    "desired": 3,
    "inSync": 0,
    "planned": [
        {"table": "routes/aws", "verb": "create", "key": "k", "action": {"id": "i", "state": state}}
        for state in ("waiting", "waiting", "held")
    ],
}
ROUTE = {"prefix": "10.99.0.1/32", "nextHop": "10.255.0.2", "neighbour": "10.255.0.2"}
STATUS: dict[str, JSONValue] = {
    "subsystems": [
        {"subsystem": "policy", "plugin": "fabric_policy", "name": "rule 1", "counters": {"packets": 7}}
    ],
    "version": "0.1.0",
    "node": 'r"r',
    "phase": "Degraded",
    "reasons": ["one", "two"],
    "sessions": [
        {
            "neighbour": "10.255.0.2",
            "leaf": "leaf-a",
            "state": "established",
            "received": 3,
            "accepted": 1,
            "advertised": 2,
            "rejected": {"not-claimed": 2},
        },
        {"neighbour": "10.255.0.4", "leaf": "leaf-b", "state": "active"},
    ],
    "routes": [{**ROUTE, "installed": True}, {**ROUTE, "installed": False}],
    "tables": [{"name": "routes", "desired": 3, "inSync": 2, "pending": [{"key": "k"}]}, WAITING],
    "tunnels": [{"link": "samt1", "backend": "kernel", "up": True, "rxBytes": 1000, "txBytes": 2000}],
    "encryptedPeers": [
        {"link": "wg-sam", "mode": "wireguard", "publicKey": "abc=", "handshakeAge": 12},
        {"link": "wg-sam", "mode": "wireguard", "publicKey": "never", "handshakeAge": None},
    ],
    "enrollment": [
        {
            "name": "SAMEnrollmentClient/fabric",
            "phase": "Degraded",
            "endpoints": [
                {"target": "http://a", "accepted": True, "until": "2026-06-28T13:00:00Z"},
                {"target": "http://b", "accepted": False, "until": None},
            ],
        },
        {
            "name": "SAMEnrollmentClient/lost",
            "phase": "Backoff",
            "endpoints": [{"target": "http://a", "accepted": False}],
        },
    ],
}


def values(
    status: dict[str, JSONValue], claims: Sequence[JSONValue] = ()
) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    document = {"apiVersion": API_VERSION, "kind": "Status", "phase": "Ready", **status}
    reports = [from_document(each, ClaimReport) for each in claims]
    text = exposition(from_document(document, Status), reports, now=NOW)
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith("."), family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is given twice"
            found[key] = sample.value
    return found


def key(name: str, /, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"routerd_{name}", frozenset(labels.items())


EXPECTED = {
    key("build_info", version="0.1.0", node='r"r'): 1,
    key("ready"): 0,
    key("not_ready_reasons"): 2,
    key("bgp_sessions", state="established"): 1,
    key("bgp_sessions", state="active"): 1,
    key("bgp_sessions", state="idle"): 0,
    key("bgp_accepted_prefixes", neighbour="10.255.0.2", leaf="leaf-a"): 1,
    key("bgp_received_prefixes", neighbour="10.255.0.4", leaf="leaf-b"): 0,
    key("bgp_rejected_prefixes", neighbour="10.255.0.2", leaf="leaf-a", reason="not-claimed"): 2,
    key("subsystem_total", subsystem="policy", name="rule 1", counter="packets"): 7,
    key("routes_learned"): 2,
    key("routes_installed"): 1,
    key("table_pending_changes", table="routes"): 1,
    key("table_pending_changes", table="routes/aws"): 0,
    key("table_desired_objects", table="routes/aws"): 3,
    key("table_in_sync_objects", table="routes/aws"): 0,
    key("table_planned_changes", table="routes/aws", standing="waiting"): 2,
    key("table_planned_changes", table="routes/aws", standing="held"): 1,
    key("table_in_sync_objects", table="routes"): 2,
    key("tunnel_up", link="samt1", backend="kernel"): 1,
    key("tunnel_receive_bytes_total", link="samt1", backend="kernel"): 1000,
    key("tunnel_transmit_bytes_total", link="samt1", backend="kernel"): 2000,
    key("encrypted_peer_handshake_age_seconds", link="wg-sam", mode="wireguard", public_key="abc="): 12,
    key("enrollment_endpoint_accepted", client="fabric", target="http://a"): 1,
    key("enrollment_endpoint_accepted", client="fabric", target="http://b"): 0,
    key("enrollment_claim_remaining_seconds", client="fabric"): 3600,
    key("enrollment_claim_remaining_seconds", client="lost"): 0,
}


def test_the_status_is_measured() -> None:
    found = values(STATUS)
    assert {name: found[name] for name in EXPECTED} == EXPECTED


def test_claims_are_counted_by_state_and_timed_while_they_hold() -> None:
    claims = [
        claim_document("a"),
        claim_document("b"),
        claim_document("c", "Pending", expiresAt=None),
        claim_document("d", "Approved", expiresAt=None),
        claim_document("e", "Revoked"),
    ]
    found = values({}, claims)
    assert found[key("claims", state="Approved", policy="p")] == 3
    assert found[key("claims", state="Pending", policy="p")] == 1
    assert found[key("claim_expires_seconds", claim="a", leaf="a")] == 86400
    assert found[key("claim_expires_seconds", claim="d", leaf="d")] == inf
    assert key("claim_expires_seconds", claim="e", leaf="e") not in found


def test_a_claim_that_should_have_ended_has_no_time_left() -> None:
    found = values({}, [claim_document("a", expiresAt="2026-06-28T11:00:00Z")])
    assert found[key("claim_expires_seconds", claim="a", leaf="a")] == 0


def test_a_router_that_says_nothing_yet_still_has_metrics() -> None:
    found = values({"phase": "Ready"})
    assert found[key("ready")] == 1
    assert sum(name == "routerd_bgp_sessions" for name, _ in found) == len(SESSION_STATES)


def test_the_library_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys, contextlib, routerd.runtime.daemon\n"
        "from routerd.cli import main\n"
        "sys.argv = ['routerd', '--help']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "sys.exit('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "metrics" in done.stdout
