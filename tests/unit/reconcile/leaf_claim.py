"""A leaf's claim, and the examples whose reflector admits it, for tests of derivation. Not a test itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from routerd.model.claim import Claim, ClaimWireGuard
from routerd.model.names import PublicKey

EXAMPLES = Path(__file__).parents[3] / "examples"
NOW = datetime(2026, 6, 29, 12, tzinfo=UTC)
KEY = PublicKey("q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=")
OWN = PublicKey("AAAAEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=")
CLAIM = Claim(
    name="leaf1",
    policy_ref="SAMEnrollmentPolicy/leaves",
    leaf_id="leaf1",
    tunnel_address="10.255.16.11/32",
    endpoint="10.20.0.11",
    owned_addresses=("10.80.1.20/32",),
    asn=64577,
    wireguard=ClaimWireGuard(public_key=KEY, allowed_ips=("10.20.0.11/32",)),
)
