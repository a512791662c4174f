"""The form of a claim: limits, characters, canonical addresses. Nothing here needs the configuration.

A control character in a signed text would let two different claims have the same signed bytes.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache

import attrs

from routerd.errors import EnrollmentRefused
from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.claim import Claim, ClaimWireGuard, Placement, host, prefix
from routerd.model.names import PublicKey, is_public_key
from routerd.model.specs.claim_codec import places
from routerd.model.specs.mobility import MAX_PRIORITY

MAX_TEXT = 256
MAX_ITEMS = 256
MAX_ASN = 2**32 - 1

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_LEAF_ID_FORM = "use at most 253 letters, digits, dots and dashes"
_NOT_A_KEY = "is not a WireGuard key (44 characters of base64)"
_PORT = re.compile(r"[1-9]\d{0,4}\Z", re.ASCII)


def normalised(claim: Claim) -> Claim:
    """Return the claim without empty parts; programs in Go send such."""
    if claim.wireguard == ClaimWireGuard(public_key=PublicKey("")):
        claim = attrs.evolve(claim, wireguard=None)
    if claim.placement == Placement(group="", priority=0):
        claim = attrs.evolve(claim, placement=None)
    return claim


def check_form(claim: Claim) -> None:
    """Raise `EnrollmentRefused` when the form of a field is wrong."""
    if not _NAME.match(claim.name):
        raise EnrollmentRefused(
            "claim-name-invalid",
            f"metadata.name {_shown(claim.name)}: not a claim name; use at most 253 letters, digits, dots "
            "and dashes",
        )
    if claim.revoked:
        _refuse(claim, "claim-revoked", "revoked: true; only a claim without it can join")
    _check_texts(claim)
    for field, value in (("policyRef", claim.policy_ref), ("leafID", claim.leaf_id)):
        if not value:
            _refuse(claim, "field-required", f"{field} is missing")
    if not _NAME.match(claim.leaf_id):
        # Letters of other alphabets look like ours: no operator could tell two such leaves apart.
        _refuse(
            claim,
            "leaf-id-invalid",
            f"leafID {_shown(claim.leaf_id)} is not a leaf ID; {_LEAF_ID_FORM}",
        )
    _check_host(claim, "tunnelAddress", claim.tunnel_address, required=True)
    _check_host(claim, "endpoint", claim.endpoint)
    _check_host(claim, "bgp.routerID", claim.router_id)
    for text in claim.owned_addresses:
        _check_prefix(claim, "mobility.ownedAddresses", text, single=True)
    if len(claim.owned_addresses) > 1 and len(claim.owned) != len(claim.owned_addresses):
        _refuse(claim, "owned-address-twice", "mobility.ownedAddresses lists an address twice")
    if not 0 <= claim.asn <= MAX_ASN:
        _refuse(claim, "asn-invalid", f"bgp.asn {claim.asn} is not an AS number")
    if claim.placement is not None:
        _placement(claim, claim.placement)
    if claim.wireguard is not None:
        _wireguard(claim, claim.wireguard)
    parse_time(claim, "joinTimestamp", claim.join_timestamp, "join-timestamp-invalid")
    parse_time(claim, "expiresAt", claim.expires_at, "expires-at-invalid")


def check_asker(leaf: str, key: str) -> None:
    """Raise `EnrollmentRefused` when a leaf ID, or a WireGuard key that is given, has a wrong form."""
    if not _NAME.match(leaf):
        raise EnrollmentRefused("leaf-id-invalid", f"leafID {_shown(leaf)} is not a leaf ID; {_LEAF_ID_FORM}")
    if key and not is_public_key(key):
        raise EnrollmentRefused("wireguard-key-invalid", f"leaf {leaf}: publicKey {_NOT_A_KEY}")


def parse_time(claim: Claim, field: str, text: str, reason: str) -> datetime | None:
    """Return an RFC 3339 time, none when the field is empty; refused with `reason` otherwise."""
    if not text:
        return None
    moment = _moment(text)
    if moment is not None:
        return moment
    raise EnrollmentRefused(
        reason, f"claim {claim.name}: {field} {text} is not a time such as 2026-06-28T00:00:00Z"
    )


@lru_cache(maxsize=256)
def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if _RFC3339.match(text) else None
    except ValueError:
        return None


def _check_texts(claim: Claim) -> None:
    texts = list(_texts(claim))
    whole = "".join([text for _, text in texts])
    if not (whole.isascii() and whole.isprintable() and max(map(len, [t for _, t in texts])) <= MAX_TEXT):
        _refuse_text(claim, texts)
    lists = {"mobility.ownedAddresses": claim.owned_addresses}
    if claim.wireguard is not None:
        lists["wireGuard.allowedIPs"] = claim.wireguard.allowed_ips
    for field, items in lists.items():
        if len(items) > MAX_ITEMS:
            _refuse(claim, "claim-too-large", f"{field} has more than {MAX_ITEMS} items")


def _refuse_text(claim: Claim, texts: Iterable[tuple[str, str]]) -> None:
    for field, text in texts:
        if len(text) > MAX_TEXT:
            _refuse(claim, "claim-too-large", f"{field} is longer than {MAX_TEXT} characters")
        if not (text.isascii() and text.isprintable()):
            _refuse(claim, "text-invalid", f"{field} holds a character that is not printable ASCII")


def _shown(text: str) -> str:
    return text[:64].encode("unicode_escape").decode()


def _texts(part: attrs.AttrsInstance, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a claim with the path of its field."""
    for place in places(type(part)):
        path = ".".join(filter(None, (where, place.section, place.key)))
        value = getattr(part, place.name)
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, tuple):
            yield from ((path, text) for text in value)
        elif attrs.has(type(value)):
            yield from _texts(value, path)


def _placement(claim: Claim, placement: Placement) -> None:
    if not _NAME.match(placement.group):
        _refuse(
            claim,
            "placement-invalid",
            f"placement.group {_shown(placement.group)} is not a group name; use at most 253 letters, "
            "digits, dots and dashes",
        )
    if not 1 <= placement.priority <= MAX_PRIORITY:
        _refuse(
            claim,
            "placement-invalid",
            f"placement.priority {placement.priority} is not from 1 to {MAX_PRIORITY}",
        )
    if not claim.owned_addresses:
        # The leaves of a group find each other by the addresses that they share.
        message = "placement needs addresses in mobility.ownedAddresses: those that the group shares"
        _refuse(claim, "placement-invalid", message)


def _wireguard(claim: Claim, wireguard: ClaimWireGuard) -> None:
    if not is_public_key(wireguard.public_key):
        _refuse(claim, "wireguard-key-invalid", f"wireGuard.publicKey {_NOT_A_KEY}")
    endpoint = wireguard.endpoint
    if endpoint:
        host, _, port = endpoint.rpartition(":")
        _check_host(claim, "wireGuard.endpoint", host, required=True, bare=True)
        if not _PORT.match(port) or int(port) > 65535:
            _refuse(claim, "endpoint-invalid", f"wireGuard.endpoint {endpoint} has no port from 1 to 65535")
    for text in wireguard.allowed_ips:
        _check_prefix(claim, "wireGuard.allowedIPs", text)
    if not 0 <= wireguard.persistent_keepalive <= 65535:
        _refuse(
            claim,
            "keepalive-invalid",
            f"wireGuard.persistentKeepalive {wireguard.persistent_keepalive} is not from 0 to 65535 seconds",
        )


def _check_host(claim: Claim, field: str, text: str, *, required: bool = False, bare: bool = False) -> None:
    if not text and not required:
        return
    if not text:
        _refuse(claim, "field-required", f"{field} is missing")
    plain = text if bare else text.removesuffix("/32")
    address = _address(plain)
    if address is None or not _usable(address):
        _refuse(claim, "address-invalid", f"{field} {text} is not an IPv4 host address")


def _check_prefix(claim: Claim, field: str, text: str, *, single: bool = False) -> None:
    network = _network(text)
    if network is None or not _usable(network.network_address):
        _refuse(claim, "address-invalid", f"{field} {text} is not an IPv4 prefix in its usual form")
    elif single and network.prefixlen != 32:
        _refuse(claim, "owned-address-not-host", f"{field} {text} is not a /32")


def _network(text: str) -> IPNetwork | None:
    """Return the prefix, or none when it is not in its usual form."""
    try:
        network = prefix(text)
    except ValueError:
        return None
    return network if "/" not in text or text.endswith("/32") or text == str(network) else None


def _address(text: str) -> IPAddress | None:
    try:
        return host(text)
    except ValueError:
        return None


def _usable(address: IPAddress) -> bool:
    """Say whether a host may have the address; 240.0.0.0/4 but its last counts, because some sites use it."""
    number = int(address)
    first = number >> 24
    return number not in (0, 0xFFFFFFFF) and first != 127 and not 224 <= first <= 239


def _refuse(claim: Claim, reason: str, message: str) -> None:
    raise EnrollmentRefused(reason, f"claim {claim.name}: {message}")
