"""The texts of a claim that proofs and digests cover, letter by letter.

`signed_text` and `digest` are those of the SAM dialect, whose programs compute them too. `bound_text`
is for join methods that the dialect does not know: it covers every field. None of them holds a secret.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache

import attrs

from routerd.model.claim import Claim
from routerd.model.specs.claim_codec import claim_to_document


@lru_cache(maxsize=64)  # a reflector checks the proof of a claim, and then takes its digest
def signed_text(claim: Claim) -> bytes:
    """Return the signed text of the dialect: `key=value` lines joined by one LF, none at the end.

    Scalars are trimmed; lists are sorted bytewise and joined by commas, their items untouched, so
    that "10.0.0.1" and "10.0.0.1/32" sign differently.
    """
    return "\n".join(_lines(claim)).encode()


def digest(claim: Claim) -> str:
    """Return `sha256:<hex>` over the signed text, `joinHMAC`, the end and the revocation.

    A leaf identifies its claim by it. A proof beside the claim is not part of it, so another proof of
    the same claim changes nothing.
    """
    tail = (
        f"\njoinHMAC={claim.join_hmac}"
        f"\nexpiresAt={claim.expires_at}"
        f"\nrevoked={'true' if claim.revoked else 'false'}"
    )
    return "sha256:" + hashlib.sha256(signed_text(claim) + tail.encode()).hexdigest()


def bound_text(claim: Claim, *, method: str, challenge: str = "") -> bytes:
    """Return the bytes that bind a proof to the join method, the challenge and the whole claim.

    Both ends compute it; neither signs a text that the other end sent. `joinHMAC` is not part of it.

    Added in 1.0.
    """
    document = claim_to_document(attrs.evolve(claim, join_hmac=""))
    whole = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"routerd-join/1\n{method}\n{challenge}\n{whole}".encode()


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
