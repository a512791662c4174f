"""The signed text of a claim, letter by letter, in the format of the existing SAM programs.

Only `proof` takes a secret, and it keeps none.
"""

import hashlib
import hmac
from collections.abc import Iterator
from functools import lru_cache

from routerd.model.claim import Claim


@lru_cache(maxsize=64)  # a reflector checks the proof of a claim, and then takes its digest
def canonical(claim: Claim) -> bytes:
    """Return the signed text: `key=value` lines joined by one LF, none at the end.

    Scalars are trimmed; lists are sorted bytewise and joined by commas, their items untouched, so
    that "10.0.0.1" and "10.0.0.1/32" sign differently.
    """
    return "\n".join(_lines(claim)).encode()


def proof(claim: Claim, secret: str) -> str:
    """Return the HMAC-SHA256 of the signed text as 64 lower-case hex digits.

    Bytes of the secret that are not UTF-8 are lone surrogates.
    """
    return hmac.digest(secret.encode(errors="surrogateescape"), canonical(claim), "sha256").hex()


def digest(claim: Claim) -> str:
    """Return `sha256:<hex>` over the signed text, the proof, the end and the revocation."""
    tail = (
        f"\njoinHMAC={claim.join_hmac}"
        f"\nexpiresAt={claim.expires_at}"
        f"\nrevoked={'true' if claim.revoked else 'false'}"
    )
    return "sha256:" + hashlib.sha256(canonical(claim) + tail.encode()).hexdigest()


def _lines(claim: Claim) -> Iterator[str]:
    yield f"policyRef={claim.policy_ref}"
    yield f"rrSetRef={claim.rr_set_ref}"
    yield f"leafID={claim.leaf_id}"
    yield f"joinAudience={claim.join_audience}"
    yield f"joinNonce={claim.join_nonce}"
    yield f"joinTimestamp={claim.join_timestamp}"
    yield f"tunnelAddress={claim.tunnel_address}"
    yield f"endpoint={claim.endpoint}"
    if claim.direct_mesh:
        # Older programs do not know the field, so claims without it must sign as before.
        yield "directMesh=true"
    yield f"mobility.ownedAddresses={_joined(claim.owned_addresses)}"
    yield f"bgp.asn={claim.asn}"
    yield f"bgp.routerID={claim.router_id}"
    wireguard = claim.wireguard
    yield f"wireGuard.publicKey={wireguard.public_key if wireguard else ''}"
    yield f"wireGuard.endpoint={wireguard.endpoint if wireguard else ''}"
    yield f"wireGuard.allowedIPs={_joined(wireguard.allowed_ips if wireguard else ())}"
    yield f"wireGuard.persistentKeepalive={wireguard.persistent_keepalive if wireguard else 0}"
    if claim.placement is not None:
        # As with directMesh: claims without it must sign as before.
        yield f"placement.group={claim.placement.group}"
        yield f"placement.priority={claim.placement.priority}"


def _joined(items: tuple[str, ...]) -> str:
    return ",".join(sorted(items, key=str.encode))
