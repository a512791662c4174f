"""Claims between three forms: the spec of a file, the value, and the JSON document on the wire.

Signed texts pass through unchanged: the signature covers them letter by letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routerd.model.claim import Claim, ClaimWireGuard, Placement
from routerd.model.names import PublicKey
from routerd.model.specs.mobility import SAMEnrollmentClaimSpec

API_VERSION = "mobility.routerd.net/v1alpha1"
KIND = "SAMEnrollmentClaim"

Document = dict[str, Any]  # Any: JSON


def claim_from_spec(name: str, spec: SAMEnrollmentClaimSpec) -> Claim:
    """Return the claim of a resource in a file."""
    wireguard = None
    if spec.wire_guard is not None:
        wireguard = ClaimWireGuard(
            public_key=PublicKey(spec.wire_guard.public_key.strip()),
            endpoint=spec.wire_guard.endpoint,
            allowed_ips=spec.wire_guard.allowed_ips,
            persistent_keepalive=spec.wire_guard.persistent_keepalive,
        )
    placement = None
    if spec.placement is not None:
        placement = Placement(group=spec.placement.group, priority=spec.placement.priority)
    return Claim(
        name=name,
        policy_ref=spec.policy_ref,
        leaf_id=spec.leaf_id,
        tunnel_address=spec.tunnel_address,
        rr_set_ref=spec.rr_set_ref,
        join_audience=spec.join_audience,
        join_nonce=spec.join_nonce,
        join_timestamp=spec.join_timestamp,
        join_hmac=spec.join_hmac,
        endpoint=spec.endpoint,
        owned_addresses=spec.mobility.owned_addresses,
        asn=spec.bgp.asn,
        router_id=spec.bgp.router_id,
        wireguard=wireguard,
        direct_mesh=spec.direct_mesh,
        placement=placement,
        expires_at=spec.expires_at,
        revoked=spec.revoked,
    )


def claim_to_document(claim: Claim) -> Document:
    """Return the resource as JSON; empty fields are left out."""
    spec: Document = {
        "policyRef": claim.policy_ref,
        "rrSetRef": claim.rr_set_ref,
        "leafID": claim.leaf_id,
        "joinAudience": claim.join_audience,
        "joinNonce": claim.join_nonce,
        "joinTimestamp": claim.join_timestamp,
        "joinHMAC": claim.join_hmac,
        "tunnelAddress": claim.tunnel_address,
        "endpoint": claim.endpoint,
        "directMesh": claim.direct_mesh,
        "mobility": _without_empty({"ownedAddresses": list(claim.owned_addresses)}),
        "bgp": _without_empty({"asn": claim.asn, "routerID": claim.router_id}),
        "expiresAt": claim.expires_at,
        "revoked": claim.revoked,
    }
    if claim.wireguard is not None:
        spec["wireGuard"] = _without_empty(
            {
                "publicKey": claim.wireguard.public_key,
                "endpoint": claim.wireguard.endpoint,
                "allowedIPs": list(claim.wireguard.allowed_ips),
                "persistentKeepalive": claim.wireguard.persistent_keepalive,
            }
        )
    if claim.placement is not None:
        spec["placement"] = _without_empty(
            {"group": claim.placement.group, "priority": claim.placement.priority}
        )
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": claim.name},
        "spec": _without_empty(spec),
    }


def claim_from_document(document: object) -> Claim:
    """Return the claim in a JSON document; `ValueError` says which field is wrong."""
    top = _mapping(document, "claim", _TOP_FIELDS)
    if top.get("apiVersion") != API_VERSION or top.get("kind") != KIND:
        raise ValueError(f"claim must be of apiVersion {API_VERSION} and kind {KIND}")
    name = _text(_mapping(top.get("metadata"), "metadata", None), "name", "metadata").strip()
    if not name:
        raise ValueError("metadata.name is required")
    spec = _mapping(top.get("spec"), "spec", _SPEC_FIELDS)
    mobility = _mapping(spec.get("mobility", {}), "spec.mobility", _MOBILITY_FIELDS)
    bgp = _mapping(spec.get("bgp", {}), "spec.bgp", _BGP_FIELDS)
    return Claim(
        name=name,
        policy_ref=_text(spec, "policyRef", "spec"),
        leaf_id=_text(spec, "leafID", "spec"),
        tunnel_address=_text(spec, "tunnelAddress", "spec"),
        rr_set_ref=_text(spec, "rrSetRef", "spec"),
        join_audience=_text(spec, "joinAudience", "spec"),
        join_nonce=_text(spec, "joinNonce", "spec"),
        join_timestamp=_text(spec, "joinTimestamp", "spec"),
        join_hmac=_text(spec, "joinHMAC", "spec"),
        endpoint=_text(spec, "endpoint", "spec"),
        owned_addresses=_texts(mobility, "ownedAddresses", "spec.mobility"),
        asn=_integer(bgp, "asn", "spec.bgp"),
        router_id=_text(bgp, "routerID", "spec.bgp"),
        wireguard=_wireguard(spec.get("wireGuard")),
        direct_mesh=_boolean(spec, "directMesh"),
        placement=_placement(spec.get("placement")),
        expires_at=_text(spec, "expiresAt", "spec"),
        revoked=_boolean(spec, "revoked"),
    )


_TOP_FIELDS = frozenset(("apiVersion", "kind", "metadata", "spec", "status"))
_MOBILITY_FIELDS = frozenset(("ownedAddresses",))
_BGP_FIELDS = frozenset(("asn", "routerID"))
_WIREGUARD_FIELDS = frozenset(("publicKey", "endpoint", "allowedIPs", "persistentKeepalive"))
_PLACEMENT_FIELDS = frozenset(("group", "priority"))
_SPEC_FIELDS = frozenset(
    (
        *("policyRef", "rrSetRef", "leafID", "joinAudience", "joinNonce", "joinTimestamp", "joinHMAC"),
        *("tunnelAddress", "endpoint", "directMesh", "placement", "mobility", "bgp", "wireGuard"),
        *("expiresAt", "revoked"),
    )
)


def _wireguard(value: object) -> ClaimWireGuard | None:
    if value is None:
        return None
    where = "spec.wireGuard"
    fields = _mapping(value, where, _WIREGUARD_FIELDS)
    return ClaimWireGuard(
        public_key=PublicKey(_text(fields, "publicKey", where)),
        endpoint=_text(fields, "endpoint", where),
        allowed_ips=_texts(fields, "allowedIPs", where),
        persistent_keepalive=_integer(fields, "persistentKeepalive", where),
    )


def _placement(value: object) -> Placement | None:
    if value is None:
        return None
    where = "spec.placement"
    fields = _mapping(value, where, _PLACEMENT_FIELDS)
    return Placement(group=_text(fields, "group", where), priority=_integer(fields, "priority", where))


def _mapping(value: object, where: str, known: frozenset[str] | None) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be an object")  # noqa: TRY004 - one error type for bad input
    if known is not None and not known.issuperset(value):
        raise ValueError(f"{where} has unknown field {min(set(value) - known)}")
    return value


def _text(fields: Mapping[str, object], key: str, where: str) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{where}.{key} must be text")  # noqa: TRY004 - one error type for bad input
    return value


def _texts(fields: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    value = fields.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where}.{key} must be a list of texts")
    return tuple(value)


def _integer(fields: Mapping[str, object], key: str, where: str) -> int:
    value = fields.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{where}.{key} must be an integer")  # noqa: TRY004 - one error type for bad input
    return value


def _boolean(fields: Mapping[str, object], key: str) -> bool:
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"spec.{key} must be true or false")  # noqa: TRY004 - one error type for bad input
    return value


def _without_empty(fields: Document) -> Document:
    return {key: value for key, value in fields.items() if value not in ("", 0, False, [], {}, None)}
