"""A claim of the SAM dialect, its signed text and its proofs, as section 9.3 of the protocol has them."""

from __future__ import annotations

from routerd.model.claim import Claim, ClaimWireGuard
from routerd.model.names import PublicKey

LEAF_A = Claim(
    name="leaf-a",
    policy_ref=" SAMEnrollmentPolicy/cloudedge-leaves ",
    rr_set_ref="SAMRRSet/cloudedge-rrs",
    leaf_id=" leaf-a ",
    join_audience="cloudedge-public-underlay",
    join_nonce="nonce-1",
    join_timestamp="2026-06-28T00:00:00Z",
    tunnel_address="10.255.0.31/32",
    endpoint="198.51.100.31",
    owned_addresses=("10.77.60.31/32", "10.77.60.30/32"),
    asn=64577,
    router_id="10.255.0.31",
    wireguard=ClaimWireGuard(
        public_key=PublicKey("LEAF_A_WIREGUARD_PUBLIC_KEY"),
        endpoint="198.51.100.31:51820",
        allowed_ips=("10.255.0.31/32", "10.20.0.31/32"),
        persistent_keepalive=25,
    ),
)

TEXTS = [
    (False, 499, "68ddcab9090a5971d4c741e83f992797e5d07bea9299cdeca09104eb3515d863"),
    (True, 515, "899e009dd59c25d970e2d933f87789467435300a149788288683f8baf1f3e4fe"),
]
"""Of the signed text with and without `direct_mesh`: its length in bytes, and its SHA-256."""

PROOFS = [
    (
        False,
        "test-join-token",
        "22916bc83388379036a8a7b7cfff485460c3f3890cf5da1169d1a915aeb75bd6",
        "sha256:ff975829c434e28f9e9f6263289050b30d1235490525272af4bf5284527a9b48",
    ),
    (
        False,
        "secret",
        "82078f927253b7303c2d258786713a3bdee98e6d875b38b03584e32938d43aff",
        "sha256:86e5c22386ad4081317d012b4543807989466317bdd6b50395cf12718b42a0b8",
    ),
    (
        True,
        "test-join-token",
        "0630d3fc1534880a234405e134c585618b6453e4e7b3ae968d2ca3d0a5495de0",
        "sha256:50ea3beaa1fcc3edda49136b0c40f972134510347294e619464eb5344735b629",
    ),
    (
        True,
        "secret",
        "95a1647a906206d92fc999ec693014f43b9c57eccad991e2e4f41ea88a201dce",
        "sha256:b7dffbc886e08d3b72f99780ed43531823c3d069271c0c1c4a0691f617411512",
    ),
]
"""By `direct_mesh` and token: the proof `joinHMAC`, and the digest of the claim that has it."""
